/* storage.h - a counted block of bytes on one device. */
#ifndef MOSAIC_STORAGE_H
#define MOSAIC_STORAGE_H
#include "device.h"

struct mosaic_storage {
    void *data;
    int64_t bytes;
    const mosaic_device *device;
    int references; /* atomic */
    int64_t writes; /* see mosaic_tensor_writes */
    int account;    /* see mosaic_memory_open_account */
    bool borrowed;  /* another process's: not this one's to free, nor to count */
};

mosaic_status mosaic_storage_new(mosaic_storage **storage, int64_t bytes,
                                 const mosaic_device *device);
mosaic_status mosaic_storage_borrow(mosaic_storage **storage, void *data, int64_t bytes,
                                    const mosaic_device *device);
mosaic_storage *mosaic_storage_retain(mosaic_storage *storage);
void mosaic_storage_release(mosaic_storage *storage); /* NULL is fine */

int mosaic_memory_account(void); /* that this thread has open */
int mosaic_memory_known_account(int number);

#endif
