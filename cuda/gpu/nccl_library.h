/* nccl_library.h - the file of NCCL's library; MOSAIC_NCCL_LIB names another. */
#define MOSAIC_NCCL_LIBRARY "libnccl.so.2"
