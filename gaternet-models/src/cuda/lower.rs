//! From the steps of a program to launches, in training and in evaluation.

use gaternet_kernels::cuda::layout::stride;

use super::emit::{Emit, Rest};
use super::error::{Result, unsupported};
use super::step::CudaStep;
use super::value::{Factors, Map, Row, Value};
use crate::network::gather;
use crate::program::gate::GatePosition;
use crate::program::{Program, Step};

/// Emits the steps of `program` on images of `size` (H, W) and returns the output.
pub(super) fn lower(
    program: &Program,
    images: Map,
    size: [usize; 2],
    emit: &mut dyn Emit,
) -> Result<Value> {
    let shapes = program.shapes(size)?;
    let mut values = vec![Value::Map(images)];
    for (step, shape) in program.steps().iter().zip(&shapes[1..]) {
        let inputs = gather(&step.inputs, &shapes);
        let alone = match step.inputs[0] {
            0 => false,
            input => program.steps()[input - 1].readers == 1,
        };
        values.push(add(step, &values, (inputs, *shape), alone, emit)?);
    }
    Ok(values[program.output()])
}

/// Emits a step; `alone` if no other step reads its first input.
fn add(
    step: &Step,
    values: &[Value],
    (shapes, shape): (Vec<[usize; 3]>, [usize; 3]),
    alone: bool,
    emit: &mut dyn Emit,
) -> Result<Value> {
    let residual = match step.residual.map(|value| values[value]) {
        None => None,
        Some(Value::Map(map)) => Some(map),
        Some(_) => return unsupported("adding vectors"),
    };
    let (norm, gate, relu) = (step.norm.as_ref(), step.gate, step.relu);
    let mut at = CudaStep {
        inputs: step.inputs.iter().map(|value| values[*value]).collect(),
        shapes,
        emit,
        rest: Rest { norm, gate, residual, relu },
        lists: step.lists,
        compact: step.compact,
    };
    let value = step.op.cuda(&mut at)?;
    let fresh = value != at.inputs[0];
    let CudaStep { emit, rest, .. } = at;
    match value {
        Value::Map(x) => finish_map(x, shape, rest, step.compact, alone || fresh, emit),
        Value::Row(x) => finish_row(x, shape[0], rest, alone || fresh, emit),
        Value::Active(..) => Ok(value),
    }
}

/// Emits what follows an op of maps; `alone` if nobody else reads x.
fn finish_map(
    x: Map,
    shape: [usize; 3],
    rest: Rest<'_>,
    compact: bool,
    alone: bool,
    emit: &mut dyn Emit,
) -> Result<Value> {
    let Rest { norm, gate, residual, relu } = rest;
    let at = |position| gate.filter(|gate| gate.position == position).map(|gate| gate.layer);
    let (before, after) = (at(GatePosition::BeforeSum), at(GatePosition::AfterRelu));
    let y = match norm {
        Some(norm) => emit.norm(norm, x, shape, (before, residual, relu))?,
        None if before.is_none() && residual.is_none() && !relu => x,
        None if before.is_none() && alone && emit.extend(x, residual, relu) => x,
        None => emit.apply(x, shape, before.map(Factors::Gates), residual, relu)?,
    };
    match after {
        Some(layer) => emit.gate(y, shape, layer, compact),
        None => Ok(Value::Map(y)),
    }
}

fn finish_row(
    x: Row,
    channels: usize,
    rest: Rest<'_>,
    alone: bool,
    emit: &mut dyn Emit,
) -> Result<Value> {
    let Rest { norm, residual, relu, .. } = rest;
    if residual.is_some() {
        return unsupported("adding vectors");
    }
    match norm {
        Some(norm) => {
            check_row_norm(channels)?;
            Ok(Value::Row(emit.row_norm(norm, x, channels, relu)?))
        }
        None if !relu || (alone && emit.extend_linear(x)) => Ok(Value::Row(x)),
        None => unsupported("a ReLU of vectors that follows no linear layer"),
    }
}

/// Checks that the kernel of batch norm can take vectors of this length as maps of one pixel.
fn check_row_norm(len: usize) -> Result<()> {
    if stride(len) == len {
        return Ok(());
    }
    unsupported(format!("batch norm of vectors whose length, {len}, is no multiple of 16"))
}
