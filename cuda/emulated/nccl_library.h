/* nccl_library.h - the file of what stands in for NCCL's library: nccl.c, where make has put it. */
#define MOSAIC_NCCL_LIBRARY MOSAIC_EMULATED_NCCL
