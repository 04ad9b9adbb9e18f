/// OpenBLAS, where the machine has it: loaded while the program runs, so that nothing links it.
#pragma once

#include <dlfcn.h>

#include <cstdlib>
#include <string>

#include "common.hpp"

namespace qdistill_bench {

class OpenBlas {
 public:
  /// Null where libopenblas.so.0 is not found or lacks a function. Old versions do not know newer machines and then
  /// take kernels that are several times slower, so they are told which: those of the instruction set that ours runs
  /// with, unless OPENBLAS_CORETYPE is set.
  static const OpenBlas* find() {
    static const OpenBlas blas;
    return blas.sgemm_ && blas.sgemv_ && blas.set_threads_ && blas.config_ ? &blas : nullptr;
  }
  void set_threads(int n) const { set_threads_(n); }
  /// Version, kernels, and how it runs in parallel: "OpenBLAS 0.3.21, SkylakeX, OpenMP". One that brings threads of
  /// its own ("pthread") disturbs ours, and ours it.
  std::string description() const {
    const char* const kinds[] = {", one thread", ", pthread", ", OpenMP"};
    const std::string config = config_();
    std::string out = config.substr(0, config.find(" ", config.find(" ") + 1));
    if (core_) out += std::string(", ") + core_();
    const int kind = parallel_ ? parallel_() : -1;
    return kind >= 0 && kind <= 2 ? out + kinds[kind] : out;
  }
  /// c [m, n] = op(a) op(b), rows without gaps; the vector product where m is 1 and b is transposed.
  void product(bool trans_a, bool trans_b, Index m, Index n, Index k, const float* a, const float* b, float* c) const {
    const auto size = [](Index i) { return static_cast<int>(i); };
    if (m == 1 && trans_b) return sgemv_(row_major, plain, size(n), size(k), 1, b, size(k), a, 1, 0, c, 1);
    sgemm_(row_major, trans_a ? transposed : plain, trans_b ? transposed : plain, size(m), size(n), size(k), 1, a,
           size(trans_a ? m : k), b, size(trans_b ? k : n), 0, c, size(n));
  }

 private:
  static constexpr int row_major = 101, plain = 111, transposed = 112;  // as cblas.h has them
  OpenBlas() {
    if (active_isa() != Isa::baseline)
      setenv("OPENBLAS_CORETYPE", active_isa() == Isa::avx512 ? "SkylakeX" : "Haswell", 0);
    void* const library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
    const auto load = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    };
    load(sgemm_, "cblas_sgemm"), load(sgemv_, "cblas_sgemv"), load(set_threads_, "openblas_set_num_threads");
    load(config_, "openblas_get_config"), load(core_, "openblas_get_corename");
    load(parallel_, "openblas_get_parallel");
  }
  void (*sgemm_)(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*,
                 int) = nullptr;
  void (*sgemv_)(int, int, int, int, float, const float*, int, const float*, int, float, float*, int) = nullptr;
  void (*set_threads_)(int) = nullptr;
  const char* (*config_)() = nullptr;
  const char* (*core_)() = nullptr;
  int (*parallel_)() = nullptr;
};

}  // namespace qdistill_bench
