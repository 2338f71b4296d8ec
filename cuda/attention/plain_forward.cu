/* plain_forward.cu - the plain path's forward pass with programs: HEAD is 64, 128 or 256, ELEMENT
 * that of sums. */
#include "plain_forward.h"

#if ELEMENT == 1
typedef double real;
#else
typedef float real;
#endif

extern "C" __global__ void __launch_bounds__(LANES *MOST_ROWS)
    forward(const mosaic_attention_args a)
{
    plain_forward<real, HEAD / LANES>(a);
}
