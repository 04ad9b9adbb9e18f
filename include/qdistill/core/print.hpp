/// Tensors as text, in the manner of NumPy: nested brackets, aligned columns, the middle of large ones left out.
///
///   to_string(Tensor<float>::from({1, -2.5f, 3, 4}, {2, 2}))
///   [[ 1.0000, -2.5000],
///    [ 3.0000,  4.0000]]
#pragma once

#include <cmath>

#include "qdistill/core/tensor.hpp"

namespace qdistill::inline QDISTILL_ABI {

struct PrintOptions {
  int precision = 4;       ///< digits after the point, 0 to 17
  Index threshold = 1000;  ///< a tensor of more elements is shortened to its edges
  Index edge_items = 3;    ///< elements shown at either end of a dim that is shortened, at least 1
  int line_width = 80;     ///< columns after which a row continues on the next line
};

namespace detail {

/// How all elements of one tensor are written.
struct NumberFormat {
  enum class Kind { integer, whole, fixed, scientific } kind = Kind::integer;
  int precision = 4;

  template <class T>
  std::string operator()(T value) const {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(value)) return "nan";
      if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
      char buffer[512];  // fixed notation of the largest double that is not scientific is far shorter
      const std::chars_format format =
          kind == Kind::scientific ? std::chars_format::scientific : std::chars_format::fixed;
      const int digits = kind == Kind::whole ? 0 : precision;
      std::string out(buffer, std::to_chars(buffer, buffer + sizeof buffer, value, format, digits).ptr);
      return kind == Kind::whole ? out + '.' : out;
    } else if constexpr (std::is_same_v<T, bool>) {
      return value ? "true" : "false";
    } else {
      return text(static_cast<std::conditional_t<std::is_signed_v<T>, long long, unsigned long long>>(value));
    }
  }
};

/// Writes one tensor. Two walks over the elements that are shown: one finds format and width, one writes.
template <class T>
class TensorPrinter {
 public:
  TensorPrinter(const Tensor<T>& x, const PrintOptions& options) : x_(x), options_(options) {
    check(options.precision >= 0 && options.precision <= 17, "to_string", "got precision ", options.precision,
          ", expected 0 to 17");
    check(options.edge_items >= 1, "to_string", "got edge_items ", options.edge_items, ", expected at least 1");
    shorten_ = x.numel() > options.threshold;
  }

  std::string run() {
    choose_format();
    visit(0, 0, [&](T v) {
      const std::size_t n = format_(v).size();
      if (n > width_) width_ = n;
    });
    if (x_.rank() == 0) return format_(*x_.data());
    std::string out;
    write(out, 0, 0);
    return out;
  }

 private:
  /// Calls f(i) for the indices of dim d that are shown, and gap() where some are left out.
  template <class F, class Gap>
  void shown(int d, F&& f, Gap&& gap) const {
    const Index n = x_.shape()[d], edge = options_.edge_items;
    for (Index i = 0; i < n; ++i) {
      if (shorten_ && i == edge && edge < n - edge) {
        gap();
        i = n - edge;
      }
      f(i);
    }
  }
  template <class F>
  void visit(int d, Index at, F&& f) const {
    if (d == x_.rank()) return f(x_.data()[at]);
    shown(
        d, [&](Index i) { visit(d + 1, at + i * x_.strides()[d], f); }, [] {});
  }
  void choose_format() {
    if constexpr (std::is_floating_point_v<T>) {
      bool whole = true;
      double largest = 0, smallest = std::numeric_limits<double>::infinity();
      visit(0, 0, [&](T v) {
        if (!std::isfinite(v)) return;
        const double a = std::fabs(static_cast<double>(v));
        whole = whole && a == std::floor(a);
        if (a > largest) largest = a;
        if (a > 0 && a < smallest) smallest = a;
      });
      using Kind = NumberFormat::Kind;
      const bool wide = largest >= 1e8 || (largest > 0 && (smallest < 1e-4 || largest / smallest > 1e5));
      format_.kind = whole && largest < 1e8 ? Kind::whole : wide ? Kind::scientific : Kind::fixed;
    }
    format_.precision = options_.precision;
  }
  void write(std::string& out, int d, Index at) const {
    const int indent = d + 1;
    out += '[';
    bool first = true;
    if (d == x_.rank() - 1) {
      std::size_t column = static_cast<std::size_t>(indent);
      const auto item = [&](const std::string& s, std::size_t width) {
        const std::size_t n = s.size() < width ? width : s.size();
        if (!first) {
          out += ',';
          if (column + n + 3 > static_cast<std::size_t>(options_.line_width > 0 ? options_.line_width : 0)) {
            out += '\n';
            out.append(static_cast<std::size_t>(indent), ' ');
            column = static_cast<std::size_t>(indent);
          } else {
            out += ' ';
            column += 2;
          }
        }
        first = false;
        out.append(n - s.size(), ' ');
        out += s;
        column += n;
      };
      shown(
          d, [&](Index i) { item(format_(x_.data()[at + i * x_.strides()[d]]), width_); }, [&] { item("...", 0); });
    } else {
      const auto separate = [&] {
        if (!first) {
          out += ',';
          out.append(static_cast<std::size_t>(x_.rank() - 1 - d), '\n');
          out.append(static_cast<std::size_t>(indent), ' ');
        }
        first = false;
      };
      shown(
          d, [&](Index i) { separate(), write(out, d + 1, at + i * x_.strides()[d]); },
          [&] { separate(), out += "..."; });
    }
    out += ']';
  }

  const Tensor<T>& x_;
  PrintOptions options_;
  bool shorten_ = false;
  NumberFormat format_;
  std::size_t width_ = 0;
};

}  // namespace detail

/// The elements of x as text. Numbers are written with a fixed count of digits, as "3." where all are whole, or in
/// scientific notation where their sizes differ by more than 1e5. Throws ValueError for bad options.
template <class T>
std::string to_string(const Tensor<T>& x, const PrintOptions& options = {}) {
  if (!x.defined()) return "undefined";
  return detail::TensorPrinter<T>(x, options).run();
}

}  // namespace qdistill::inline QDISTILL_ABI
