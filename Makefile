# Mosaic: `make` builds everything that this machine has the packages for; `make help` says more.
CC      ?= gcc
BUILD   ?= build
PREFIX  ?= /usr/local
VERSION := 0.1.0

CFLAGS  ?= -O3 -g
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
BASE    := -std=c11 -D_GNU_SOURCE -fPIC -fvisibility=hidden -pthread -ffp-contract=fast \
           -fno-math-errno -fno-trapping-math -DMOSAIC_VERSION='"$(VERSION)"' -MMD -MP
Q       := $(if $(V),,@)

# One kernel source, one object per ISA.
ISAS         := scalar $(if $(filter x86_64,$(shell uname -m)),avx2 avx512)
ISA_avx2     := -march=x86-64-v3
ISA_avx512   := -march=x86-64-v4 -mprefer-vector-width=512

BLAS_LIBS := $(shell pkg-config --libs openblas 2>/dev/null || echo -lblas)
BLAS_CFLAGS := $(shell pkg-config --cflags openblas 2>/dev/null)

CORE    := $(wildcard core/*.c core/op/*.c core/cpu/*.c core/data/*.c) \
           $(filter-out core/comm/mpi.c,$(wildcard core/comm/*.c))
CORE    := $(filter-out core/main.c,$(CORE))
KERNELS := $(wildcard core/cpu/kernel/*.c)
OBJECTS := $(CORE:core/%.c=$(BUILD)/core/%.o) \
           $(foreach isa,$(ISAS),$(KERNELS:core/%.c=$(BUILD)/core/%_$(isa).o))

.PHONY: all test clean
all: $(BUILD)/libmosaic.so

$(BUILD)/libmosaic.so: $(OBJECTS)
	@echo "  LD    $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -pthread -Wl,-z,defs -Wl,-z,nodelete -o $@ $^ $(BLAS_LIBS) -lm

$(BUILD)/mosaic.cdef: core/mosaic.h
	@mkdir -p $(@D)
	$(Q)$(CC) -E -P -DMOSAIC_CDEF -x c $< > $@

$(BUILD)/core/cdef.o: $(BUILD)/mosaic.cdef
$(BUILD)/core/cdef.o: BASE += -DMOSAIC_CDEF_FILE='"$(BUILD)/mosaic.cdef"'

$(BUILD)/core/%.o: core/%.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(BASE) $(WARN) $(CFLAGS) $(BLAS_CFLAGS) -c $< -o $@

define isa_rule
$$(BUILD)/core/cpu/kernel/%_$(1).o: core/cpu/kernel/%.c
	@mkdir -p $$(@D)
	@echo "  CC    $$< ($(1))"
	$$(Q)$$(CC) $$(BASE) $$(WARN) $$(CFLAGS) $$(ISA_$(1)) -DMOSAIC_ISA=$(1) -c $$< -o $$@
endef
$(foreach isa,$(ISAS),$(eval $(call isa_rule,$(isa))))

test: all
	$(Q)busted

clean:
	rm -rf $(BUILD)

-include $(OBJECTS:.o=.d)
