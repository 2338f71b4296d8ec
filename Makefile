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
ISAS         := scalar $(if $(filter x86_64,$(shell uname -m)),avx2 avx512)
ISA_avx2     := -march=x86-64-v3
ISA_avx512   := -march=x86-64-v4 -mprefer-vector-width=512

# What this machine has. A part whose package is missing is left out, and the build says so.
version      = $(shell pkg-config --modversion $(1) 2>/dev/null)
flags        = $(shell pkg-config --$(1) $(2) 2>/dev/null)
BLAS        := $(call version,openblas)
BLAS_CFLAGS := $(call flags,cflags,openblas)
BLAS_LIBS   := $(if $(BLAS),$(call flags,libs,openblas),-lblas)
LUAJIT      := $(call version,luajit)
MPI         := $(call version,ompi-c)
MPI_CFLAGS  := $(call flags,cflags,ompi-c)
MPI_LIBS    := $(call flags,libs,ompi-c)
NVCC        := $(shell command -v nvcc)
LIBEDIT     := $(shell PATH="$$PATH:/sbin" ldconfig -p 2>/dev/null | grep -o 'libedit\.so\.2' | head -n 1)

define FOUND
  compiler  $(shell $(CC) --version | head -n 1), $(CFLAGS) $(LDFLAGS)
  BLAS      $(if $(BLAS),OpenBLAS $(BLAS),OpenBLAS not found: trying -lblas)
  LuaJIT    $(or $(LUAJIT),not found: no mosaic-lua)
  MPI       $(if $(MPI),Open MPI $(MPI),Open MPI not found: one process only)
  CUDA      $(or $(NVCC),nvcc not found: CPU only)
  libedit   $(or $(LIBEDIT),not found: no line editing at the prompt)
endef

CORE    := $(filter-out core/main.c core/comm/mpi.c,\
             $(foreach dir,. op cpu comm data,$(patsubst core/./%,core/%,$(wildcard core/$(dir)/*.c))))
HOST    := core/main.c $(wildcard core/host/*.c)
KERNELS := $(wildcard core/cpu/kernel/*.c)
object   = $(patsubst core/%.c,$(BUILD)/core/%.o,$(1))
OBJECTS := $(call object,$(CORE)) \
           $(foreach isa,$(ISAS),$(KERNELS:core/%.c=$(BUILD)/core/%_$(isa).o))
PRODUCT := $(BUILD)/libmosaic.so $(if $(LUAJIT),$(BUILD)/mosaic-lua) \
           $(if $(MPI),$(if $(wildcard core/comm/mpi.c),$(BUILD)/libmosaic_mpi.so))

.PHONY: all demo test check bench sanitize reference install uninstall clean help
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

$(BUILD)/mosaic-lua: $(call object,$(HOST))
	@echo "  LD    $@"
	$(LINK) -o $@ $^ $(call flags,libs,luajit) -ldl

$(BUILD)/mosaic.cdef: core/mosaic.h
	@mkdir -p $(@D)
	$(Q)$(CC) -E -P -DMOSAIC_CDEF -x c $< > $@

$(BUILD)/core/cdef.o: $(BUILD)/mosaic.cdef
$(BUILD)/core/cdef.o: BASE += -DMOSAIC_CDEF_FILE='"$(BUILD)/mosaic.cdef"'
$(BUILD)/core/comm/mpi.o: BASE += $(MPI_CFLAGS)
$(call object,$(HOST)): BASE += $(call flags,cflags,luajit)

$(BUILD)/core/%.o: core/%.c $(BUILD)/found
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(BASE) $(WARN) $(CFLAGS) $(BLAS_CFLAGS) -c $< -o $@

define isa_rule
$$(BUILD)/core/cpu/kernel/%_$(1).o: core/cpu/kernel/%.c $(BUILD)/found
	@mkdir -p $$(@D)
	@echo "  CC    $$< ($(1))"
	$$(Q)$$(CC) $$(BASE) $$(WARN) $$(CFLAGS) $$(ISA_$(1)) -DMOSAIC_ISA=$(1) -c $$< -o $$@
endef
$(foreach isa,$(ISAS),$(eval $(call isa_rule,$(isa))))

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

# Its own build folder: the plain one stays as it is.
sanitize:
	$(Q)$(MAKE) --no-print-directory all BUILD=build/sanitize LDFLAGS= \
	  CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined"
	$(Q)build/sanitize/mosaic-lua scripts/run-specs.lua --sanitize

# OpenBLAS knows its CPU best: some shells export a choice that halves its speed.
unexport OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

bench: all
	$(Q)scripts/bench/run

reference: all
	$(Q)$(BUILD)/mosaic-lua scripts/reference.lua $(or $(DIR),$(error make reference: DIR=folder is missing))

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(PREFIX)/include
	$(if $(LUAJIT),install $(BUILD)/mosaic-lua $(DESTDIR)$(PREFIX)/bin/)
	install -m 644 $(filter %.so,$(PRODUCT)) $(DESTDIR)$(LIBDIR)/
	install -m 644 core/mosaic.h $(DESTDIR)$(PREFIX)/include/
	cd lua && find mosaic -name '*.lua' -exec install -D -m 644 {} $(abspath $(DESTDIR)$(LUADIR))/{} \;
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' \
	  core/mosaic.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/mosaic.pc

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/mosaic-lua $(DESTDIR)$(PREFIX)/include/mosaic.h
	rm -f $(DESTDIR)$(LIBDIR)/libmosaic.so $(DESTDIR)$(LIBDIR)/libmosaic_mpi.so
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
	@echo "make bench      speed beside peers, table and build/bench.json"
	@echo "make reference DIR=folder   compare with the reference values in folder"
	@echo "make install / uninstall    PREFIX=$(PREFIX), DESTDIR=$(DESTDIR)"
	@echo "make clean      remove $(BUILD)"
	@echo "variables: CC=clang, CFLAGS, LDFLAGS, BUILD=folder, V=1; tests: MOSAIC_ISA=scalar|avx2|avx512"

-include $(OBJECTS:.o=.d) $(patsubst %.o,%.d,$(call object,$(HOST) core/comm/mpi.c))
