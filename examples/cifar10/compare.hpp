/// Several finished runs in one table and one picture: seeds as mean and spread, students side by side.
#pragma once

#include <string>
#include <vector>

#include "qdistill/train/progress.hpp"

namespace cifar10 {

/// Reads result.json of the runs in `folders`, times each packed file of a row's first seed on one image, and writes
/// compare.html, compare.csv and compare.md to the folder `out`. Throws ValueError for runs whose settings differ in
/// more than seed, student, methods and bits, FileError for one that is not finished.
void compare(const std::vector<std::string>& folders, const std::string& out, qdistill::train::ProgressSink& progress);

}  // namespace cifar10
