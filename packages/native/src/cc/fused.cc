#include "kernels.h"
#include "pool.h"
#include "simd.h"
namespace plumb {
void PLUMB_NAME(fillFused)(Kernels&) {}
}  // namespace plumb
