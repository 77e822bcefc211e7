// Four lanes; compiled with -mavx2 and called only where the processor has it.
#include "core/frame_kernels_impl.h"

namespace edgeasr {

extern const FrameKernel kAvx2Kernel;
const FrameKernel kAvx2Kernel = {"avx2", log_mel_frames<4>, power_of_frame<4>};

}  // namespace edgeasr
