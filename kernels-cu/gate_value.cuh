// What the estimators make gates of.
#pragma once

#include "dev.cuh"

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// 1(x > threshold). NaN stays NaN: as 0 it would hide a model that has diverged.
DEVICE float above(float x, float threshold) { return x != x ? x : x > threshold ? 1.0f : 0.0f; }
