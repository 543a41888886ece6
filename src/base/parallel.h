// Work in parallel, results in order: the same outcome for any number of threads. A finished result waits for those
// before it. Unless the caller says otherwise, at most two items for each thread are under way or waiting.
#pragma once

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_pipeline.h>

#include <cstddef>
#include <memory>

namespace qd {

inline std::size_t results_in_flight() {
  return 2 * tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism);
}

// next() makes an item (nothing at the end) and merge(Result&&) takes a result, both in order; work(Item&, Result&)
// runs in parallel.
template <class Item, class Result, class Next, class Work, class Merge>
void ordered_parallel(Next&& next, Work&& work, Merge&& merge, std::size_t in_flight = results_in_flight()) {
  using tbb::filter_mode;
  // Pipelines carry raw pointers best. Each stage takes ownership of what it gets at once.
  tbb::parallel_pipeline(
      in_flight,
      tbb::make_filter<void, Item*>(filter_mode::serial_in_order,
                                    [&](tbb::flow_control& control) -> Item* {
                                      std::unique_ptr<Item> item = next();
                                      if (!item) control.stop();
                                      return item.release();
                                    }) &
          tbb::make_filter<Item*, Result*>(filter_mode::parallel,
                                           [&](Item* raw) {
                                             const std::unique_ptr<Item> item(raw);
                                             auto result = std::make_unique<Result>();
                                             work(*item, *result);
                                             return result.release();
                                           }) &
          tbb::make_filter<Result*, void>(filter_mode::serial_in_order, [&](Result* raw) {
            const std::unique_ptr<Result> result(raw);
            merge(std::move(*result));
          }));
}

}  // namespace qd
