#include "core/frame_kernels.h"

namespace edgeasr {

extern const FrameKernel kBaselineKernel;
#ifdef EDGEASR_X86_KERNELS
extern const FrameKernel kAvx2Kernel;
extern const FrameKernel kAvx512Kernel;
#endif

const std::vector<const FrameKernel*>& frame_kernels() {
  static const std::vector<const FrameKernel*> usable = [] {
    std::vector<const FrameKernel*> kernels;
#ifdef EDGEASR_X86_KERNELS
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) kernels.push_back(&kAvx512Kernel);
    if (__builtin_cpu_supports("avx2")) kernels.push_back(&kAvx2Kernel);
#endif
    kernels.push_back(&kBaselineKernel);
    return kernels;
  }();
  return usable;
}

}  // namespace edgeasr
