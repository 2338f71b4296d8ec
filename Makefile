# Mosaic: `make` builds everything that this machine has the packages for; `make help` says more.
ifeq ($(origin CC),default)
CC      := gcc
endif
BUILD   ?= build
PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
LUADIR  ?= $(PREFIX)/share/lua/5.1
VERSION := 0.1.0

# All cores, unless the caller says otherwise or is make itself.
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
endif

CFLAGS  ?= -O3 -g
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
# clang would complain of loops that it cannot vectorise, whatever `omp simd` allows.
WARN    += $(if $(findstring clang,$(shell $(CC) --version)),-Wno-pass-failed)
BASE    := -std=c11 -D_GNU_SOURCE -fPIC -fvisibility=hidden -pthread -ffp-contract=fast \
           -fno-math-errno -fno-trapping-math -DMOSAIC_VERSION='"$(VERSION)"' -MMD -MP
Q       := $(if $(V),,@)
LINK     = $(Q)$(CC) $(CFLAGS) $(LDFLAGS) -pthread -Wl,-z,defs -Wl,-z,nodelete -Wl,--as-needed

# One kernel source, one object per ISA.
TARGET       := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine)))
ISAS_x86_64  := scalar avx2 avx512
ISAS_aarch64 := neon
ISAS         := $(or $(ISAS_$(TARGET)),scalar)
ISA_avx2     := -march=x86-64-v3
ISA_avx512   := -march=x86-64-v4 -mprefer-vector-width=512

# What this machine has. A part whose package is missing is left out, and the build says so.
version      = $(shell pkg-config --modversion $(1) 2>/dev/null)
flags        = $(shell pkg-config --$(1) $(2) 2>/dev/null)
BLAS        := $(call version,openblas)
BLAS_CFLAGS := $(call flags,cflags,openblas)
BLAS_LIBS   := $(if $(BLAS),$(call flags,libs,openblas),-lblas)
LUAJIT      := $(call version,luajit)
OPENMPI     := $(call version,ompi-c)
MPI_CFLAGS  := $(call flags,cflags,ompi-c)
MPI_LIBS    := $(call flags,libs,ompi-c)
NVCC        := $(shell command -v nvcc)
# Where the toolkit is, also when nvcc is a script that calls it.
CUDA        := $(if $(NVCC),$(abspath $(shell $(NVCC) --dryrun -x cu /dev/null 2>&1 | sed -n "s/.* TOP=//p")))
CUBLAS      := $(if $(CUDA),$(wildcard $(CUDA)/include/cublasLt.h))
LIBEDIT     := $(shell PATH="$$PATH:/sbin" ldconfig -p 2>/dev/null | grep -o 'libedit\.so\.2' | head -n 1)

define FOUND
  compiler  $(shell $(CC) --version | head -n 1), $(CFLAGS) $(LDFLAGS)
  BLAS      $(if $(BLAS),OpenBLAS $(BLAS),OpenBLAS not found: trying -lblas)
  LuaJIT    $(or $(LUAJIT),not found: no mosaic-lua)
  MPI       $(if $(OPENMPI),Open MPI $(OPENMPI),Open MPI not found: one process only)
  CUDA      $(or $(NVCC),nvcc not found: CPU only)$(if $(NVCC),$(if $(CUBLAS),, without cuBLAS: CPU only))
  libedit   $(or $(LIBEDIT),not found: no line editing at the prompt)
endef

CORE    := $(filter-out core/main.c core/comm/mpi.c,\
             $(foreach dir,. op cpu comm data,$(patsubst core/./%,core/%,$(wildcard core/$(dir)/*.c))))
HOST    := core/main.c $(wildcard core/host/*.c)
KERNELS := $(wildcard core/cpu/kernel/*.c)
AMX     := $(if $(filter avx512,$(ISAS)),$(wildcard core/cpu/kernel/amx/*.c))
object   = $(patsubst core/%.c,$(BUILD)/core/%.o,$(1))
OBJECTS := $(call object,$(CORE)) \
           $(foreach isa,$(ISAS),$(KERNELS:core/%.c=$(BUILD)/core/%_$(isa).o)) $(call object,$(AMX))
PRODUCT := $(BUILD)/libmosaic.so $(if $(LUAJIT),$(BUILD)/mosaic-lua) \
           $(if $(OPENMPI),$(if $(wildcard core/comm/mpi.c),$(BUILD)/libmosaic_mpi.so))

# Kernels of attention that are compiled for one head size, one dtype and the programs of one mask
# (cuda/attention/variants.h): the plug-in carries their sources, to compile them when they are asked
# for, and of usual ones the code: file-HEAD-ELEMENT.
VARIANT_FILES := plain_forward.cu plain_backward.cu small.cu hopper.cu hopper_backward.cu forward.cu \
                 backward.cu
VARIANTS      := small-24-0 small-24-2 hopper-24-2 hopper-64-2 hopper-128-2 \
                 hopper_backward-24-2 hopper_backward-64-2 hopper_backward-128-2 \
                 forward-24-0 forward-64-0 forward-128-0 forward-24-2 forward-64-2 forward-128-2 \
                 backward-24-0 backward-64-0 backward-24-2 backward-64-2 backward-128-2
CARRIED        = $(wildcard cuda/attention/*.h $(1)/*.h) core/half.h core/philox.h cuda/half.h cuda/inline.h \
                 $(VARIANT_FILES:%=cuda/attention/%)

# The CUDA plug-in, by nvcc; and the same sources as C++ with a CUDA runtime of our own, to run them
# where there is no GPU.
CUDA_C     := $(wildcard cuda/*.c cuda/attention/*.c)
CUDA_CU    := $(filter-out $(VARIANT_FILES:%=cuda/attention/%),$(wildcard cuda/*.cu cuda/attention/*.cu))
CUDA_INCLUDES := -Icuda/attention/none # program.h of masks without programs
CUDA_ARCH  := -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a \
              -gencode arch=compute_100,code=sm_100 -gencode arch=compute_80,code=compute_80
NVCC_FLAGS  = -O3 -std=c++17 -lineinfo -Icuda/gpu $(CUDA_INCLUDES) --extended-lambda \
              --expt-relaxed-constexpr \
              -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wno-unknown-pragmas $(CUDA_ARCH)
CUDA_BASE   = $(filter-out -MMD -MP,$(BASE)) -MMD -MP
EMULATED   := $(BUILD)/emulated
EMULATED_C := $(filter-out %/compiler.c %/nccl.c,$(wildcard cuda/emulated/*.c))
# Without the checks that double the time to compile, most of which ASan makes anyway.
EMULATED_CXX := $(CXX) $(filter-out -std=c11 -D% -M% -fvisibility=%,$(BASE)) -std=c++17 -w $(CFLAGS) -O1 -g1 \
  -ffp-contract=off -fno-sanitize=null,object-size,pointer-overflow,vptr
GPU_C      := $(wildcard cuda/gpu/*.c)
cuda_objects = $(patsubst cuda/%,$(1)/cuda/%.o,$(CUDA_C) $(CUDA_CU))
PRODUCT    += $(if $(CUBLAS),$(BUILD)/libmosaic_cuda.so)

.PHONY: all demo test test-aarch64 test-cuda-emulated cuda-spills cuda-variants check bench bench-scaling bench-peers sanitize reference bundle install uninstall clean help
all: $(PRODUCT)

# The configuration is written, printed and everything rebuilt when it differs from the last one.
ifneq ($(if $(MAKECMDGOALS),$(filter-out check clean help demo test,$(MAKECMDGOALS)),all),)
ifneq ($(file <$(BUILD)/found),$(FOUND))
$(shell mkdir -p $(BUILD))
$(file >$(BUILD)/found,$(FOUND))
$(info $(FOUND))
endif
endif
$(BUILD)/found: ;

$(BUILD)/libmosaic.so: $(OBJECTS)
	@echo "  LD    $@"
	$(LINK) -shared -Wl,-soname,$(@F) -o $@ $^ $(BLAS_LIBS) -lm

$(BUILD)/libmosaic_mpi.so: $(call object,core/comm/mpi.c) $(BUILD)/libmosaic.so
	@echo "  LD    $@"
	$(LINK) -shared -Wl,-rpath,'$$ORIGIN' -o $@ $^ $(MPI_LIBS)

$(BUILD)/libmosaic_cuda.so: $(call cuda_objects,$(BUILD)) $(GPU_C:%=$(BUILD)/%.o) $(BUILD)/libmosaic.so
	@echo "  NVLD  $@"
	$(Q)$(NVCC) -shared -cudart static $(CUDA_ARCH) -Xcompiler -static-libstdc++,-static-libgcc \
	  -Xlinker -z,defs,-z,nodelete,--exclude-libs,ALL,-rpath,'$$ORIGIN:$(CUDA)/lib64:/usr/local/cuda/lib64' -o $@ $^ -L$(CUDA)/lib64 -lcublasLt -lm

$(EMULATED)/libmosaic_cuda.so: $(call cuda_objects,$(EMULATED)) $(EMULATED_C:%.c=$(EMULATED)/%.o) \
                              $(EMULATED)/cuda/emulated/compiler.o $(BUILD)/libmosaic.so \
                              | $(EMULATED)/libmosaic_emulated_nccl.so
	@echo "  LD    $@"
	$(LINK) -shared -Wl,-rpath,'$$ORIGIN/..' -o $@ $^ -lm -lstdc++

# In the place of libnccl.so.2: opened by the plug-in, whose emulated runtime it uses.
$(EMULATED)/libmosaic_emulated_nccl.so: $(EMULATED)/cuda/emulated/nccl.o
	@echo "  LD    $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -o $@ $^

# Tensor-core instructions beside plain loops (spec/cuda/mma_spec.lua), and Hopper's.
$(EMULATED)/spec/cuda/hopper.cu.o: BASE += -Wno-psabi
$(EMULATED)/mma $(EMULATED)/hopper: $(EMULATED)/%: $(EMULATED)/spec/cuda/%.cu.o $(EMULATED_C:%.c=$(EMULATED)/%.o)
	@echo "  LD    $@"
	$(LINK) -o $@ $^ -lm -lstdc++

$(BUILD)/mosaic-lua: $(call object,$(HOST))
	@echo "  LD    $@"
	$(LINK) -o $@ $^ $(call flags,libs,luajit) -ldl

# For a machine without LuaJIT; modules in C find its functions in the program.
$(BUILD)/bundle/mosaic-lua: $(call object,$(HOST))
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(LINK) -o $@ $^ $(call flags,libs-only-L,luajit) -rdynamic \
	  -Wl,--whole-archive -l:libluajit-5.1.a -Wl,--no-whole-archive -lm -ldl

$(BUILD)/mosaic.cdef: core/mosaic.h
	@mkdir -p $(@D)
	$(Q)$(CC) -E -P -DMOSAIC_CDEF -x c $< > $@

# A plug-in and a core that were built from other headers refuse each other (core/plugin.h).
$(BUILD)/layout: $(sort $(wildcard core/*.h core/comm/*.h))
	@mkdir -p $(@D)
	$(Q)cat $^ | cksum | cut -d ' ' -f 1 > $@

LAYOUT_OBJECTS := $(call object,core/plugin.c core/comm/mpi.c) $(BUILD)/cuda/device.c.o $(EMULATED)/cuda/device.c.o
$(LAYOUT_OBJECTS): $(BUILD)/layout
$(LAYOUT_OBJECTS): BASE += -DMOSAIC_PLUGIN_LAYOUT=$$(cat $(BUILD)/layout)

$(BUILD)/core/cdef.o: $(BUILD)/mosaic.cdef
$(BUILD)/core/cdef.o: BASE += -DMOSAIC_CDEF_FILE='"$(BUILD)/mosaic.cdef"'
$(BUILD)/core/comm/mpi.o: BASE += $(MPI_CFLAGS)
$(call object,$(AMX)): BASE += $(ISA_avx512) -mamx-tile -mamx-bf16 -DMOSAIC_ISA=avx512
$(call object,$(HOST)): BASE += $(call flags,cflags,luajit)

$(BUILD)/core/%.o: core/%.c $(BUILD)/found
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(BASE) $(WARN) $(CFLAGS) $(BLAS_CFLAGS) -c $< -o $@

$(BUILD)/cuda/%.c.o: cuda/%.c $(BUILD)/found
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(BASE) $(WARN) $(CFLAGS) -Icuda/gpu -isystem $(CUDA)/include -c $< -o $@

# Lists for cuda/attention/sources.c.
write_list = (n=0; for f in $(1); do n=$$((n + 1)); echo "SOURCE($$n, \"$$f\")"; done; \
              for v in $(2); do n=$$((n + 1)); \
                echo "COMPILED($$n, \"$$v\", \"$(BUILD)/cuda/attention/variants/$$v.fatbin\")"; done) > $@

$(BUILD)/cuda/sources.list: $(call CARRIED,cuda/gpu) $(VARIANTS:%=$(BUILD)/cuda/attention/variants/%.fatbin) Makefile
	@mkdir -p $(@D)
	$(Q)$(call write_list,$(call CARRIED,cuda/gpu),$(VARIANTS))

$(EMULATED)/cuda/sources.list: $(call CARRIED,cuda/emulated) Makefile
	@mkdir -p $(@D)
	$(Q)$(call write_list,$(call CARRIED,cuda/emulated),)

$(BUILD)/cuda/attention/sources.c.o: $(BUILD)/cuda/sources.list
$(EMULATED)/cuda/attention/sources.c.o: $(EMULATED)/cuda/sources.list
$(BUILD)/cuda/attention/sources.c.o: BASE += -DMOSAIC_SOURCE_LIST='"$(abspath $(BUILD)/cuda/sources.list)"'
$(EMULATED)/cuda/attention/sources.c.o: BASE += -DMOSAIC_SOURCE_LIST='"$(abspath $(EMULATED)/cuda/sources.list)"'
$(EMULATED)/cuda/nccl.c.o: BASE += -DMOSAIC_EMULATED_NCCL='"$(abspath $(EMULATED)/libmosaic_emulated_nccl.so)"'
$(EMULATED)/cuda/emulated/compiler.o: BASE += -DMOSAIC_EMULATED_CXX='"$(EMULATED_CXX)"' \
  -DMOSAIC_EMULATED_CACHE='"$(abspath $(EMULATED)/cache)"' -Wno-psabi

# The kernels that are for one architecture.
$(BUILD)/cuda/attention/variants/hopper%.fatbin: CUDA_ARCH = -gencode arch=compute_90a,code=sm_90a

$(BUILD)/cuda/attention/variants/%.fatbin: $(call CARRIED,cuda/gpu) cuda/attention/none/program.h $(BUILD)/found
	@mkdir -p $(@D)
	@echo "  NVCC  variant $*"
	$(Q)$(NVCC) $(filter-out -Xcompiler -fPIC%,$(NVCC_FLAGS)) -Xptxas -v -fatbin \
	  $(foreach n,2 3,-D$(word $n,- HEAD ELEMENT)=$(word $n,$(subst -, ,$*))) \
	  cuda/attention/$(firstword $(subst -, ,$*)).cu -o $@ >$(@:.fatbin=.cu.log) 2>&1; \
	  status=$$?; scripts/cuda-spills --others $(@:.fatbin=.cu.log) >&2; exit $$status

# The CPU's bits.
$(BUILD)/cuda/random.cu.o $(BUILD)/cuda/quantize.cu.o: NVCC_FLAGS += --fmad=false

$(BUILD)/cuda/%.cu.o: cuda/%.cu $(BUILD)/found
	@mkdir -p $(@D)
	@echo "  NVCC  $<"
	$(Q)$(NVCC) $(NVCC_FLAGS) -Xptxas -v -MMD -MP -MF $(@:.o=.d) -c $< -o $@ >$(@:.o=.log) 2>&1; \
	  status=$$?; scripts/cuda-spills --others $(@:.o=.log) >&2; exit $$status

$(EMULATED)/cuda/%.c.o: cuda/%.c $(BUILD)/found
	@mkdir -p $(@D)
	@echo "  CC    $< (emulated)"
	$(Q)$(CC) $(BASE) $(WARN) $(CFLAGS) -Icuda/emulated -c $< -o $@

$(EMULATED)/%.cu.o: %.cu $(BUILD)/found
	@mkdir -p $(@D)
	@echo "  CXX   $< (emulated)"
	$(Q)$(CXX) $(filter-out -std=c11,$(BASE)) -std=c++17 -Wall -Wextra -Wno-unknown-pragmas $(CFLAGS) -Icuda/emulated $(CUDA_INCLUDES) -x c++ -c $< -o $@

$(EMULATED)/cuda/emulated/%.o: cuda/emulated/%.c $(BUILD)/found
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(BASE) $(WARN) $(CFLAGS) -Icuda/emulated -c $< -o $@

define isa_rule
$$(BUILD)/core/cpu/kernel/%_$(1).o: core/cpu/kernel/%.c $(BUILD)/found
	@mkdir -p $$(@D)
	@echo "  CC    $$< ($(1))"
	$$(Q)$$(CC) $$(BASE) $$(WARN) $$(CFLAGS) $$(ISA_$(1)) -DMOSAIC_ISA=$(1) -c $$< -o $$@
endef
$(foreach isa,$(ISAS),$(eval $(call isa_rule,$(isa))))
# The same random numbers on every ISA.
$(foreach isa,$(ISAS),$(BUILD)/core/cpu/kernel/random_$(isa).o): BASE += -ffp-contract=off

# demo and test start from nothing: packages first, and only then a make that looks for them.
demo:
	$(Q)scripts/setup
	$(Q)$(MAKE) --no-print-directory all
	$(Q)scripts/demo

test:
	$(Q)scripts/setup
	$(Q)$(MAKE) --no-print-directory all
	$(Q)$(BUILD)/mosaic-lua scripts/run-specs.lua

check:
	$(Q)scripts/check

# What the CUDA compiler said of its registers, as it built the plug-in.
cuda-spills: all
	$(Q)$(if $(NVCC),scripts/cuda-spills $(BUILD)/cuda,echo "no nvcc: no kernel to look at")

# What is compiled when it is asked for, compiled here, where there is NVRTC; ALL=1: whatever may be.
cuda-variants: all
	$(Q)$(if $(CUBLAS),$(BUILD)/mosaic-lua scripts/cuda-variants.lua $(if $(ALL),,--brief),echo "no CUDA plug-in: no kernel to compile")

# Its own build folder: the plain one stays as it is. No nvcc: sanitizers see emulated devices only.
SANITIZED := build/sanitize
make_sanitized = +$(Q)$(MAKE) --no-print-directory $(1) BUILD=$(SANITIZED) NVCC= LDFLAGS= \
  CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined"

sanitize:
	$(call make_sanitized,all)
	$(Q)$(SANITIZED)/mosaic-lua scripts/run-specs.lua --sanitize

test-cuda-emulated:
	$(call make_sanitized,all $(addprefix $(SANITIZED)/emulated/,libmosaic_cuda.so mma hopper))
	$(Q)MOSAIC_CUDA_LIB=$(abspath $(SANITIZED)/emulated/libmosaic_cuda.so) \
	  $(SANITIZED)/mosaic-lua scripts/run-specs.lua --sanitize --cuda

test-aarch64:
	+$(Q)scripts/test-aarch64

# OpenBLAS knows its CPU best: some shells export a choice that halves its speed.
unexport OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

bench: all
	$(Q)scripts/bench/run

bench-scaling: all
	$(Q)OPENBLAS_NUM_THREADS=1 $(BUILD)/mosaic-lua scripts/bench/scaling.lua $(BUILD)

# The peers in Python, gigabytes of them; onnx writes the models that onnxruntime reads.
bench-peers:
	$(Q)python3 -m venv $(BUILD)/peers
	$(Q)$(BUILD)/peers/bin/pip install --quiet torch numpy onnxruntime onnx

reference: all
	$(Q)$(BUILD)/mosaic-lua scripts/reference.lua $(or $(DIR),$(error make reference: DIR=folder is missing)) \
	  $(if $(DEVICE),--device $(DEVICE))

# Its name says what is inside: one for CPUs, one with the CUDA plug-in, each with or without Open MPI.
BUNDLE = mosaic-$(VERSION)-$(shell uname -m)$(if $(CUBLAS),-cuda)$(if $(filter 1,$(MPI)),-mpi)
bundle: all $(BUILD)/bundle/mosaic-lua
	$(if $(filter-out 0 1,$(MPI)),$(error make bundle: MPI=$(MPI): expected 1 (with Open MPI) or 0))
	$(Q)scripts/bundle --check
	$(Q)rm -rf $(BUILD)/$(BUNDLE) $(BUILD)/$(BUNDLE).tar.gz
	$(Q)$(MAKE) -s --no-print-directory install DESTDIR=$(abspath $(BUILD)/$(BUNDLE)) PREFIX=
	$(Q)scripts/bundle $(BUILD) $(BUNDLE) $(filter 1,$(MPI))

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(PREFIX)/include || { \
	  echo "make install: may not write in $(DESTDIR)$(PREFIX): sudo make install, or a folder of your own," \
	    "make install PREFIX=\$$HOME/.local" >&2; exit 1; }
	$(if $(LUAJIT),install $(BUILD)/mosaic-lua $(DESTDIR)$(PREFIX)/bin/)
	install -m 644 $(filter %.so,$(PRODUCT)) $(DESTDIR)$(LIBDIR)/
	install -m 644 core/mosaic.h $(DESTDIR)$(PREFIX)/include/
	cd lua && find mosaic -name '*.lua' -exec install -D -m 644 {} $(abspath $(DESTDIR)$(LUADIR))/{} \;
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' \
	  core/mosaic.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/mosaic.pc

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/mosaic-lua $(DESTDIR)$(PREFIX)/include/mosaic.h
	rm -f $(addprefix $(DESTDIR)$(LIBDIR)/libmosaic,.so _mpi.so _cuda.so)
	rm -f $(DESTDIR)$(LIBDIR)/pkgconfig/mosaic.pc
	rm -rf $(DESTDIR)$(LUADIR)/mosaic

clean:
	rm -rf $(BUILD)

help:
	@echo "make            build $(BUILD)/mosaic-lua and its libraries (V=1 shows the commands)"
	@echo "make demo       install packages, build, train nanoTabPFN on 2 ranks, classify a table"
	@echo "make test       install packages, build, run all specs"
	@echo "make check      warnings as errors (gcc, clang), formatting, cppcheck, luacheck"
	@echo "make sanitize   the specs under AddressSanitizer and UBSan"
	@echo "make test-cuda-emulated     CUDA kernels without a GPU, under the same"
	@echo "make test-aarch64           kernels compiled for ARM's NEON, under qemu"
	@echo "make cuda-spills            registers and spills of CUDA kernels; attention must not spill"
	@echo "make cuda-variants [ALL=1]  CUDA kernels by the run-time compiler, without a GPU: some, or all"
	@echo "make bench      speed beside peers: a table, $(BUILD)/bench.md and bench.json"
	@echo "make bench-peers            installs PyTorch and onnxruntime in $(BUILD)/peers, for make bench"
	@echo "make bench-scaling          time against rows, head sizes, ranks, threads: $(BUILD)/scaling-*.png"
	@echo "make reference DIR=folder [DEVICE=cuda]   compare with the reference values in folder"
	@echo "make bundle [MPI=1]         a folder and a tar that run elsewhere (MPI=1: Open MPI included)"
	@echo "make install / uninstall    PREFIX=$(PREFIX), DESTDIR=$(DESTDIR)"
	@echo "make clean      remove $(BUILD)"
	@echo "variables: CC=clang, CFLAGS, LDFLAGS, BUILD=folder, V=1; tests: MOSAIC_ISA=scalar|avx2|avx512"

-include $(wildcard $(foreach dir,$(BUILD) $(EMULATED),$(patsubst %.o,%.d,$(call cuda_objects,$(dir)))))
-include $(EMULATED_C:%.c=$(EMULATED)/%.d) $(EMULATED)/cuda/emulated/compiler.d $(EMULATED)/cuda/emulated/nccl.d $(GPU_C:%=$(BUILD)/%.d)
-include $(OBJECTS:.o=.d) $(patsubst %.o,%.d,$(call object,$(HOST) core/comm/mpi.c))
