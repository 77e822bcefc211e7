// Two lanes: SSE2 on x86-64, NEON on aarch64, whatever the compiler makes of it elsewhere.
#include "core/frame_kernels_impl.h"

namespace edgeasr {

extern const FrameKernel kBaselineKernel;
const FrameKernel kBaselineKernel = {"baseline", log_mel_frames<2>, power_of_frame<2>};

}  // namespace edgeasr
