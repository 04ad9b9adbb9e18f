#include "networks.hpp"

#include <cstdio>

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

}  // namespace

std::string network_names() {
  std::string names;
  for (const auto& n : first_paper()) names += n.first + ", ";
  return names + "wrn-D-K (wide ResNet), resnet18, resnet34, resnet50 (xK behind it: K times as wide)";
}

Network network(const std::string& name, int activation_bits) {
  for (const auto& [known, listed] : first_paper()) {
    if (known != name) continue;
    models::PolinoSpec spec = listed;
    spec.activation_bits = activation_bits;
    return {name, [spec](bool dropout) -> std::unique_ptr<Net> {
              return std::make_unique<models::PolinoCnn<float>>(dropout ? spec : models::without_dropout(spec));
            }};
  }
  check(activation_bits == 0, "cifar10", "got network '", name, "' with ", activation_bits,
        " bits for activations, expected one of the first paper's networks");
  int read = 0, depth = 0, widen = 0, layers = 0;
  double width = 1;
  const auto whole = [&] { return read == static_cast<int>(name.size()); };
  if (std::sscanf(name.c_str(), "wrn-%3d-%3d%n", &depth, &widen, &read) == 2 && whole() && depth > 0 && widen > 0) {
    models::WideResNetSpec spec;
    spec.depth = depth, spec.widen_factor = widen;
    return {name, [spec](bool dropout) -> std::unique_ptr<Net> {
              models::WideResNetSpec s = spec;
              if (!dropout) s.dropout = 0;
              return std::make_unique<models::WideResNet<float>>(s);
            }};
  }
  if (std::sscanf(name.c_str(), "resnet%2d%nx%lf%n", &layers, &read, &width, &read) >= 1 && whole() &&
      (layers == 18 || layers == 34 || layers == 50) && width > 0 && width <= 100) {
    const models::ResNetSpec spec = models::for_cifar(layers == 18   ? models::resnet18(width)
                                                      : layers == 34 ? models::resnet34(width)
                                                                     : models::resnet50(width));
    return {name, [spec](bool) -> std::unique_ptr<Net> { return std::make_unique<models::ResNet<float>>(spec); }};
  }
  fail("cifar10", "got network '", name, "', expected one of ", network_names());
}

}  // namespace cifar10
