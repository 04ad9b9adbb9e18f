/// The epoch loop: loss, backward, optimizer step; after each epoch validation, schedule, best model, checkpoint.
///
/// A validation set drives the schedule and the choice of the best model; the test set has no place here. A run that
/// was stopped or killed goes on from its checkpoint with the same bits as an unbroken one: the checkpoint holds
/// parameters, buffers, optimizer, random numbers, loader position, schedule, best model and the sums of the unfinished
/// epoch.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>

#include "qdistill/optim/clip.hpp"
#include "qdistill/optim/optimizer.hpp"
#include "qdistill/optim/schedule.hpp"
#include "qdistill/train/checkpoint.hpp"
#include "qdistill/train/evaluate.hpp"
#include "qdistill/train/progress.hpp"
#include "qdistill/train/record.hpp"
#include "qdistill/train/watchdog.hpp"

namespace qdistill::inline QDISTILL_ABI::train {

struct EpochRecord {
  Index epoch = 0;
  double lr = 0;
  double train_loss = 0, train_accuracy = 0;
  double validation_loss = 0, validation_accuracy = 0;
  double seconds = 0;
};

/// What `fit` needs besides model, optimizer and data.
struct FitOptions {
  std::string stage = "train";  ///< names the events in the log and the bar
  Index epochs = 1;
  double clip_norm = 0;                     ///< largest 2-norm of all gradients together; 0: not clipped
  optim::Schedule* schedule = nullptr;      ///< stepped with the validation error after each epoch; null: constant
  bool keep_best = true;                    ///< end with the best validation accuracy's weights, else with the last
  std::string checkpoint = {};              ///< file written after each epoch and when stopped; "": none
  Json context = Json::object();            ///< the program's own state, kept in the checkpoint
  const Checkpoint* resume = nullptr;       ///< where to go on
  const std::atomic<bool>* stop = nullptr;  ///< set by the program (Ctrl-C): ends after the step
  ProgressSink* progress = nullptr;         ///< null: silent
  EventLog* log = nullptr;                  ///< null: no record
};

struct FitResult {
  std::vector<EpochRecord> history;
  double best_accuracy = -1;  ///< on the validation set
  Index best_epoch = -1;
  bool interrupted = false;
  double seconds = 0;  ///< of all epochs, those before a resume included
};

/// loss(logits, images, labels, batch) -> scalar, the mean over the batch.
using BatchLoss =
    std::function<Tensor<float>(const Tensor<float>&, const Tensor<float>&, const Tensor<Index>&, const data::Batch&)>;

namespace detail {

inline Json to_json(const EpochRecord& e) {
  return {{"epoch", e.epoch},
          {"lr", e.lr},
          {"train_loss", e.train_loss},
          {"train_accuracy", e.train_accuracy},
          {"validation_loss", e.validation_loss},
          {"validation_accuracy", e.validation_accuracy},
          {"seconds", e.seconds}};
}
inline EpochRecord epoch_from_json(const Json& j) {
  return {j.at("epoch").get<Index>(),
          j.at("lr").get<double>(),
          j.at("train_loss").get<double>(),
          j.at("train_accuracy").get<double>(),
          j.at("validation_loss").get<double>(),
          j.at("validation_accuracy").get<double>(),
          j.at("seconds").get<double>()};
}

/// A number that may be infinite, which JSON does not have.
inline Json number(double v) { return std::isfinite(v) ? Json(v) : Json(v > 0 ? "inf" : v < 0 ? "-inf" : "nan"); }
inline double number(const Json& j) {
  if (j.is_number()) return j.get<double>();
  const auto s = j.get<std::string>();
  const double inf = std::numeric_limits<double>::infinity();
  return s == "inf" ? inf : s == "-inf" ? -inf : std::numeric_limits<double>::quiet_NaN();
}
inline Json to_json(const optim::ScheduleState& s) {
  Json numbers = Json::array();
  for (const double v : s.numbers) numbers.push_back(number(v));
  return {{"steps", s.steps}, {"lr", number(s.lr)}, {"stop", s.stop}, {"numbers", numbers}};
}
inline optim::ScheduleState schedule_from_json(const Json& j) {
  optim::ScheduleState s;
  s.steps = j.at("steps").get<Index>(), s.lr = number(j.at("lr")), s.stop = j.at("stop").get<bool>();
  for (std::size_t i = 0; i < s.numbers.size(); ++i) s.numbers[i] = number(j.at("numbers").at(i));
  return s;
}

/// The loop's state, which is what a checkpoint holds beyond model and optimizer.
class FitState {
 public:
  FitState(nn::Module<float>& model, optim::Optimizer<float>& optimizer, data::DataLoader& loader,
           const FitOptions& options)
      : model_(model), optimizer_(optimizer), loader_(loader), options_(options) {
    for (const auto& e : nn::state_dict(model_)) best_.push_back({e.name, e.values.clone(), e.count.clone()});
  }
  FitResult result;
  Index epoch = 0;
  Tally train;               ///< of the unfinished epoch
  double epoch_seconds = 0;  ///< spent on it before a resume
  bool finished = false;     ///< the schedule said stop, or all epochs are done

  void keep_best() {
    const auto now = nn::state_dict(model_);
    for (std::size_t i = 0; i < best_.size(); ++i) {
      if (now[i].values.defined()) best_[i].values.copy_from(now[i].values);
      else best_[i].count.copy_from(now[i].count);
    }
  }
  void restore_best() {
    auto now = nn::state_dict(model_);
    for (std::size_t i = 0; i < best_.size(); ++i) {
      if (now[i].values.defined()) now[i].values.copy_from(best_[i].values);
      else now[i].count.copy_from(best_[i].count);
    }
  }

  void save() {
    if (options_.checkpoint.empty()) return;
    Checkpoint c;
    c.put("model.", model_);
    for (const auto& e : best_) {
      if (e.values.defined()) c.put("best." + e.name, e.values);
      else c.put("best." + e.name, e.count);
    }
    const auto state = optimizer_.state();
    for (const auto& [name, tensor] : state.tensors) c.put("optimizer." + name, tensor);
    Json scalars = Json::object();
    for (const auto& [name, value] : state.scalars) scalars[name] = value;
    Json history = Json::array();
    for (const EpochRecord& e : result.history) history.push_back(to_json(e));
    const data::LoaderPosition at = loader_.position();
    c.numbers = {{"stage", options_.stage},
                 {"epoch", epoch},
                 {"finished", finished},
                 {"loader", {{"epoch", at.epoch}, {"batch", at.batch}}},
                 {"random", {{"seed", default_generator().seed()}, {"counter", default_generator().counter()}}},
                 {"optimizer", scalars},
                 {"schedule", options_.schedule ? to_json(options_.schedule->state()) : Json()},
                 {"tally", {{"images", train.images}, {"correct", train.correct}, {"loss_sum", train.loss_sum}}},
                 {"epoch_seconds", epoch_seconds},
                 {"seconds", result.seconds},
                 {"best", {{"accuracy", result.best_accuracy}, {"epoch", result.best_epoch}}},
                 {"history", history},
                 {"log_bytes", options_.log ? options_.log->sync() : 0},
                 {"context", options_.context}};
    c.save(options_.checkpoint);
  }

  void load(const Checkpoint& c) {
    try {
      const Json& n = c.numbers;
      check<FileError>(n.at("stage") == options_.stage, "fit", "got a checkpoint of stage '",
                       n.at("stage").get<std::string>(), "', expected '", options_.stage, "'");
      c.take("model.", model_);
      for (auto& e : best_) {
        if (e.values.defined()) c.take("best." + e.name, e.values);
        else c.take("best." + e.name, e.count);
      }
      optim::OptimizerState<float> state;
      const auto parameters = model_.parameters();
      for (const auto& [name, value] : n.at("optimizer").items()) state.scalars.emplace_back(name, value.get<double>());
      for (const std::string& name : c.names("optimizer.")) {
        Tensor<float> t = Tensor<float>::empty(c.shape("optimizer." + name));
        c.take("optimizer." + name, t);
        state.tensors.emplace_back(name, t);
      }
      optimizer_.load_state(state);
      if (options_.schedule) options_.schedule->load_state(schedule_from_json(n.at("schedule")));
      epoch = n.at("epoch").get<Index>(), finished = n.at("finished").get<bool>();
      const Json& tally = n.at("tally");
      train = {tally.at("images").get<Index>(), tally.at("correct").get<Index>(), tally.at("loss_sum").get<double>()};
      epoch_seconds = n.at("epoch_seconds").get<double>();
      result.seconds = n.at("seconds").get<double>();
      result.best_accuracy = n.at("best").at("accuracy").get<double>();
      result.best_epoch = n.at("best").at("epoch").get<Index>();
      for (const Json& e : n.at("history")) result.history.push_back(epoch_from_json(e));
      default_generator().restore(n.at("random").at("seed").get<std::uint64_t>(),
                                  n.at("random").at("counter").get<std::uint64_t>());
      loader_.seek({n.at("loader").at("epoch").get<Index>(), n.at("loader").at("batch").get<Index>()});
    } catch (const nlohmann::json::exception& e) {
      fail<FileError>("fit", "the checkpoint's numbers are not those of a fit: ", e.what());
    }
  }

 private:
  nn::Module<float>& model_;
  optim::Optimizer<float>& optimizer_;
  data::DataLoader& loader_;
  const FitOptions& options_;
  std::vector<nn::StateEntry<float>> best_;
};

}  // namespace detail

/// Trains `model` on `loader`, and leaves it with the best validation accuracy's weights (the first of equal ones)
/// unless told otherwise.
/// Throws Error naming the layer if the loss stops being finite, FileError for a checkpoint that does not fit.
inline FitResult fit(nn::Module<float>& model, optim::Optimizer<float>& optimizer, data::DataLoader& loader,
                     data::DataLoader& validation, const BatchLoss& loss, const FitOptions& options = {}) {
  using Clock = std::chrono::steady_clock;
  check(options.epochs >= 0, "fit", "got ", options.epochs, " epochs, expected at least 0");
  detail::FitState state(model, optimizer, loader, options);
  ProgressSink& progress = options.progress ? *options.progress : silent_progress();
  if (options.resume) state.load(*options.resume);
  else loader.seek({0, 0});
  if (options.schedule && !options.resume) optimizer.set_lr(options.schedule->lr());
  const auto stopped = [&] { return options.stop && options.stop->load(); };
  const std::vector<Tensor<float>> parameters = model.parameters();
  while (!state.finished && state.epoch < options.epochs) {
    const auto start = Clock::now();
    const auto seconds = [&] {
      return state.epoch_seconds + std::chrono::duration<double>(Clock::now() - start).count();
    };
    progress.begin(text(options.stage, ", epoch ", state.epoch + 1, '/', options.epochs), loader.images_per_epoch(),
                   "images");
    model.train();
    bool complete = loader.position().epoch > state.epoch;
    while (!complete) {
      const data::Batch& batch = loader.next();
      const data::TensorBatch tensors = data::to_tensors(batch);
      optimizer.zero_grad();
      {
        const Tensor<float> logits = model(tensors.images);
        const Tensor<float> value = loss(logits, tensors.images, tensors.labels, batch);
        const double v = static_cast<double>(value.item());
        if (!std::isfinite(v))
          fail<Error>("fit", options.stage, ", epoch ", state.epoch, ", batch ", batch.number, ": the loss is ",
                      std::isnan(v) ? "NaN" : "infinite", "; ", not_finite(model, tensors.images),
                      ". HINT: a lower learning rate, or clip_norm");
        state.train.images += batch.size;
        state.train.correct += count_correct(logits, batch.labels);
        state.train.loss_sum += v * static_cast<double>(batch.size);
        value.backward();
      }
      if (options.clip_norm > 0) optim::clip_grad_norm(std::span<const Tensor<float>>(parameters), options.clip_norm);
      optimizer.step();
      complete = batch.last;
      const Metric metrics[] = {{"loss", state.train.loss()}, {"accuracy", state.train.accuracy()}};
      progress.step(state.train.images, metrics);
      if (stopped() && !complete) {
        state.epoch_seconds = seconds();
        state.save();
        state.result.interrupted = true;
        progress.end(metrics);
        return state.result;
      }
    }
    const Tally v = evaluate(model, validation);
    EpochRecord record{state.epoch, optimizer.lr(), state.train.loss(), state.train.accuracy(),
                       v.loss(),    v.accuracy(),   seconds()};
    state.result.history.push_back(record);
    state.result.seconds += record.seconds;
    if (v.accuracy() > state.result.best_accuracy) {
      state.result.best_accuracy = v.accuracy(), state.result.best_epoch = state.epoch;
      state.keep_best();
    }
    if (options.schedule) {
      optimizer.set_lr(options.schedule->step(1 - v.accuracy()));
      state.finished = options.schedule->stop();
    }
    ++state.epoch;
    state.train = {}, state.epoch_seconds = 0;
    const Metric metrics[] = {{"loss", record.train_loss}, {"accuracy", record.validation_accuracy}};
    progress.end(metrics);
    if (options.log) {
      Json event = {{"event", "epoch"}, {"stage", options.stage}};
      event.update(detail::to_json(record));
      options.log->write(event);
    }
    if (state.epoch >= options.epochs) state.finished = true;
    state.save();
    if (stopped() && !state.finished) {
      state.result.interrupted = true;
      return state.result;
    }
  }
  optimizer.zero_grad();
  if (options.keep_best) state.restore_best();
  return state.result;
}

}  // namespace qdistill::inline QDISTILL_ABI::train
