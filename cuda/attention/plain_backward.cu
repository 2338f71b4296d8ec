/* plain_backward.cu - the plain path's backward passes with programs: see plain_forward.cu. */
#include "plain_backward.h"

#if ELEMENT == 1
typedef double real;
#else
typedef float real;
#endif

extern "C" __global__ void __launch_bounds__(LANES *MOST_ROWS)
    backward_keys(const mosaic_attention_args a)
{
    plain_backward_keys<real, HEAD / LANES>(a);
}

extern "C" __global__ void __launch_bounds__(LANES *MOST_ROWS)
    backward_queries(const mosaic_attention_args a)
{
    plain_backward_queries<real, HEAD / LANES>(a);
}

extern "C" __global__ void __launch_bounds__(LANES *MOST_ROWS)
    backward_bias(const mosaic_attention_args a)
{
    plain_backward_bias<real>(a);
}
