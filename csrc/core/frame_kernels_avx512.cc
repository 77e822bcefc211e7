// Eight lanes; compiled with -mavx512f and called only where the processor has it.
#include "core/frame_kernels_impl.h"

namespace edgeasr {

extern const FrameKernel kAvx512Kernel;
const FrameKernel kAvx512Kernel = {"avx512", log_mel_frames<8>, power_of_frame<8>};

}  // namespace edgeasr
