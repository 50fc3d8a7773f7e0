//! Layout of values in buffers, so that few buffers serve a deep network.

/// The buffers for the values of a list of steps.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Length of each buffer, which is that of the longest value it holds.
    pub(super) buffers: Vec<usize>,
    /// Number of the buffer of each value.
    pub(super) of_value: Vec<usize>,
}

impl Layout {
    /// Lays out values of the lengths `lens`; `done` has for each step the values that no later
    /// step reads. Value 0 is there before step 0, value i + 1 is written by step i. A step never
    /// writes into a buffer whose value it or a later step reads.
    pub(super) fn new<'a>(lens: &[usize], done: impl Iterator<Item = &'a [usize]>) -> Layout {
        let mut layout = Layout { buffers: vec![lens[0]], of_value: vec![0] };
        let mut idle: Vec<usize> = Vec::new();
        for (step, done) in done.enumerate() {
            let len = lens[step + 1];
            // The shortest buffer that is long enough, else the longest.
            let fit = |buffer: &usize| match layout.buffers[*buffer] {
                enough if enough >= len => (0, enough),
                short => (1, len - short),
            };
            let best = (0..idle.len()).min_by_key(|at| fit(&idle[*at]));
            let buffer = best.map(|at| idle.swap_remove(at)).unwrap_or(layout.buffers.len());
            if buffer == layout.buffers.len() {
                layout.buffers.push(len);
            }
            layout.buffers[buffer] = layout.buffers[buffer].max(len);
            layout.of_value.push(buffer);
            idle.extend(done.iter().map(|value| layout.of_value[*value]));
        }
        layout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout for steps of which step i reads the values `reads[i]`; `done` follows from these.
    fn layout(lens: &[usize], reads: &[Vec<usize>]) -> Layout {
        let mut done = vec![Vec::new(); reads.len()];
        for value in 0..lens.len() {
            if let Some(last) = reads.iter().rposition(|values| values.contains(&value)) {
                done[last].push(value);
            }
        }
        Layout::new(lens, done.iter().map(Vec::as_slice))
    }

    /// Panics if a step overwrites a value that it or a later step reads.
    fn check(layout: &Layout, lens: &[usize], reads: &[Vec<usize>]) {
        let mut holds = vec![None; layout.buffers.len()];
        holds[layout.of_value[0]] = Some(0);
        for (step, values) in reads.iter().enumerate() {
            for value in values {
                let buffer = layout.of_value[*value];
                assert_eq!(holds[buffer], Some(*value), "step {step} reads value {value}");
                assert_ne!(buffer, layout.of_value[step + 1], "step {step} writes over its input");
            }
            holds[layout.of_value[step + 1]] = Some(step + 1);
        }
        for (value, len) in lens.iter().enumerate() {
            assert!(layout.buffers[layout.of_value[value]] >= *len, "value {value} does not fit");
        }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let (lens, reads) = ([5, 7, 3, 9], [vec![0], vec![1], vec![2]]);
        let layout = layout(&lens, &reads);
        check(&layout, &lens, &reads);
        assert_eq!(layout.buffers.len(), 2);
    }

    #[test]
    fn residual_units_need_three_however_many_there_are() {
        // Values are the input, the stem, then an inner one and the output of each block, which
        // reads its input again at its end.
        let units = 50;
        let mut reads = vec![vec![0]];
        for unit in 0..units {
            let x = 1 + 2 * unit;
            reads.extend([vec![x], vec![x + 1, x]]);
        }
        let lens = vec![16; reads.len() + 1];
        let layout = layout(&lens, &reads);
        check(&layout, &lens, &reads);
        assert_eq!(layout.buffers, [16; 3]);
    }

    #[test]
    fn a_value_read_twice_by_a_step_frees_one_buffer() {
        let (lens, reads) = ([4; 4], [vec![0], vec![1, 1], vec![2]]);
        let layout = layout(&lens, &reads);
        check(&layout, &lens, &reads);
        assert_eq!(layout.buffers.len(), 2);
    }
}
