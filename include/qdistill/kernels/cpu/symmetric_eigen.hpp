/// Eigenvalues and eigenvectors of a small symmetric matrix by Jacobi's method: rotations in the planes (p, q), row by
/// row, each of which makes the element (p, q) zero (Golub and Van Loan, "Matrix Computations", section 8.5). About
/// 10 d^3 multiplications for each of some 8 sweeps: meant for d up to a few hundred.
#pragma once

#include <cmath>

#include "qdistill/core/device.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// a (d x d, symmetric) = sum over i of values[i] v_i v_i^T, where v_i is row i of `vectors` (d x d), of length 1. The
/// eigenvalues are in no order. a is overwritten.
inline void symmetric_eigen(Cpu, Index d, double* a, double* values, double* vectors) {
  for (Index i = 0; i < d * d; ++i) vectors[i] = i / d == i % d ? 1 : 0;
  constexpr int most_sweeps = 60;
  for (int sweep = 0; sweep < most_sweeps; ++sweep) {
    double beside = 0, all = 0;
    for (Index i = 0; i < d * d; ++i) {
      all += a[i] * a[i];
      if (i / d != i % d) beside += a[i] * a[i];
    }
    if (!(beside > 1e-34 * all)) break;
    for (Index p = 0; p < d; ++p) {
      for (Index q = p + 1; q < d; ++q) {
        const double apq = a[p * d + q];
        if (apq == 0) continue;
        // The smaller root t of t^2 + 2 theta t - 1 is the tangent of the angle.
        const double theta = (a[q * d + q] - a[p * d + p]) / (2 * apq);
        const double t = std::copysign(1.0, theta) / (std::fabs(theta) + std::hypot(theta, 1.0));
        const double c = 1 / std::sqrt(t * t + 1), s = t * c;
        for (Index i = 0; i < d; ++i) {
          const double x = a[i * d + p], y = a[i * d + q];
          a[i * d + p] = c * x - s * y, a[i * d + q] = s * x + c * y;
        }
        for (Index i = 0; i < d; ++i) {
          const double x = a[p * d + i], y = a[q * d + i];
          a[p * d + i] = c * x - s * y, a[q * d + i] = s * x + c * y;
        }
        a[p * d + q] = a[q * d + p] = 0;
        for (Index i = 0; i < d; ++i) {
          const double x = vectors[p * d + i], y = vectors[q * d + i];
          vectors[p * d + i] = c * x - s * y, vectors[q * d + i] = s * x + c * y;
        }
      }
    }
  }
  for (Index i = 0; i < d; ++i) values[i] = a[i * d + i];
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
