#include "networks.hpp"

#include <cstdlib>

#include "../common/thin_student.hpp"
#include "qdistill/models/resnet.hpp"
#include "qdistill/models/wide_resnet.hpp"

namespace cifar10 {

namespace {

/// A narrow member of the first paper's family for the quick preset.
models::PolinoSpec thin_teacher() {
  models::PolinoSpec s = models::polino_teacher();
  s.name = "thin-teacher";
  s.convs = {24, 24, 40, 40, 48, 48}, s.pool_after = {1, 3, 5}, s.linear = {200};
  s.dropout = {{3, .1}, {5, .2}, {6, .2}};
  return s;
}

const std::vector<std::pair<std::string, models::PolinoSpec>>& first_paper() {
  static const std::vector<std::pair<std::string, models::PolinoSpec>> networks = {
      {"teacher", models::polino_teacher()},
      {"student-1", models::polino_student_1()},
      {"student-2", models::polino_student_2()},
      {"student-3", models::polino_student_3()},
      {"deeper-student", models::polino_deeper_student()},
      {"thin-teacher", thin_teacher()},
      {"thin-student", examples::thin_student()}};
  return networks;
}

/// The positive number at `at`, which it moves behind it; -1 where there is none.
double number(const char*& at) {
  if (*at < '0' || *at > '9') return -1;
  char* end = nullptr;
  const double value = std::strtod(at, &end);
  at = end;
  return value > 0 && value <= 1000 ? value : -1;
}

bool starts_with(const std::string& text, const char* start) { return text.rfind(start, 0) == 0; }

}  // namespace

std::string network_names() {
  std::string names;
  for (const auto& n : first_paper()) names += n.first + ", ";
  return names + "wrn-D-K (wide ResNet), resnet18, resnet34, resnet50 (xK behind it: K times as wide)";
}

Network network(const std::string& name) {
  for (const auto& [known, spec] : first_paper()) {
    if (known != name) continue;
    return {name, [spec = spec](bool dropout) -> std::unique_ptr<Net> {
              return std::make_unique<models::PolinoCnn<float>>(dropout ? spec : models::without_dropout(spec));
            }};
  }
  if (starts_with(name, "wrn-")) {
    const char* at = name.c_str() + 4;
    const double depth = number(at), widen = *at == '-' ? number(++at) : -1;
    if (depth > 0 && widen > 0 && *at == '\0') {
      models::WideResNetSpec spec;
      spec.depth = static_cast<Index>(depth), spec.widen_factor = static_cast<Index>(widen);
      return {name, [spec](bool dropout) -> std::unique_ptr<Net> {
                models::WideResNetSpec s = spec;
                if (!dropout) s.dropout = 0;
                return std::make_unique<models::WideResNet<float>>(s);
              }};
    }
  }
  if (starts_with(name, "resnet")) {
    const char* at = name.c_str() + 6;
    const double layers = number(at), width = *at == 'x' ? number(++at) : 1;
    if (width > 0 && *at == '\0' && (layers == 18 || layers == 34 || layers == 50)) {
      const models::ResNetSpec spec = models::for_cifar(layers == 18   ? models::resnet18(width)
                                                        : layers == 34 ? models::resnet34(width)
                                                                       : models::resnet50(width));
      return {name, [spec](bool) -> std::unique_ptr<Net> { return std::make_unique<models::ResNet<float>>(spec); }};
    }
  }
  fail("cifar10", "got network '", name, "', expected one of ", network_names());
}

}  // namespace cifar10
