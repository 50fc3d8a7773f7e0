// One launch over many arrays: a table in device memory says which part of which array a block has.
#pragma once

#include "dev.cuh"

namespace table {

constexpr int threads = 256, span = 2048;  // elements of a part; as in gaternet-kernels/src/cuda/table.rs

// Mirrors a pair of `Table::parts` of table.rs: elements `first .. first + span` of the arrays in row `row` of a table, or
// up to their end.
struct Part {
    int row, first;
};

}  // namespace table
