// TANDEM_HOST_DEVICE stands before a function that C++ and CUDA both compile: for a .cu file it is
// one of the host and of the device, elsewhere nothing.
#pragma once

#if defined(__CUDACC__)
#define TANDEM_HOST_DEVICE __host__ __device__
#else
#define TANDEM_HOST_DEVICE
#endif
