/// The networks that the program knows by name.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "qdistill/nn/module.hpp"

namespace cifar10 {

using namespace qdistill;

using Net = nn::Module<float>;

struct Network {
  std::string name;
  /// Makes it anew, with or without the dropout of its specification.
  std::function<std::unique_ptr<Net>(bool dropout)> make;
};

/// The names of --teacher and --student; "wrn-D-K" and "resnet18xK" stand for families.
std::string network_names();
/// `activation_bits`: see models::PolinoSpec. Throws ValueError for an unknown name, and for a network that has no
/// quantized activations where they are wanted.
Network network(const std::string& name, int activation_bits = 0);

}  // namespace cifar10
