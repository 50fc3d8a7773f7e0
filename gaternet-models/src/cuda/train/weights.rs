//! The parameters of a model on the device, with gradients and velocities, and the way there and
//! back.

use std::cell::{Ref, RefCell};
use std::collections::HashMap;

use gaternet_core::nn::{BatchNorm2d, Conv2d, Linear, State};
use gaternet_core::optim::{Optimizer as _, Sgd, SgdConfig};
use gaternet_core::{Parameter, Shape, Tensor};
use gaternet_kernels::Conv2dDims;
use gaternet_kernels::cuda::layout::Rows;
use gaternet_kernels::cuda::sgd::{Constants, Param as SgdParam, Sgd as Kernel};
use gaternet_kernels::cuda::{Activation, CudaBuffer, CudaDevice, Weight};

use crate::cuda::Result;
use crate::cuda::error::unsupported;

/// Layout of a parameter in device memory.
#[derive(Debug, Clone, Copy)]
pub(super) enum Layout {
    /// The layout of the host.
    Flat,
    /// The layout of the weight of a convolution, packed in rows.
    Rows(Conv2dDims, Rows),
}

impl Layout {
    pub(super) fn pack(&self, values: &[f32]) -> Vec<f32> {
        match self {
            Layout::Flat => values.to_vec(),
            Layout::Rows(dims, rows) => rows.pack_weight(dims, values),
        }
    }

    pub(super) fn unpack(&self, values: Vec<f32>) -> Vec<f32> {
        match self {
            Layout::Flat => values,
            Layout::Rows(dims, rows) => rows.unpack_weight(dims, &values),
        }
    }
}

/// A parameter that kernels on activations of T read.
#[derive(Debug)]
pub(super) struct Param<T> {
    host: Parameter,
    layout: Layout,
    pub(super) weight: RefCell<Weight<T>>,
    pub(super) grad: RefCell<CudaBuffer<f32>>,
    /// The training of the parameter; `None` while it is frozen.
    training: Option<Training>,
}

/// Settings and state of a parameter's training.
#[derive(Debug)]
struct Training {
    name: String,
    /// Index of its learning rates.
    rates: usize,
    weight_decay: f32,
    /// Velocity; `None` without momentum.
    velocity: Option<CudaBuffer<f32>>,
}

impl<T: Activation> Param<T> {
    /// The parameter as the optimiser takes it; nothing while it is frozen.
    fn trained<'a>(&'a mut self, rates: &'a [CudaBuffer<f32>]) -> Option<SgdParam<'a>> {
        let training = self.training.as_mut()?;
        let Weight { master, copy, .. } = self.weight.get_mut();
        Some(SgdParam {
            rates: &rates[training.rates],
            weight_decay: training.weight_decay,
            grad: self.grad.get_mut(),
            param: master,
            velocity: training.velocity.as_mut(),
            copy: copy.as_mut(),
        })
    }

    /// The layout of the parameter, its shape on the host, and its values now.
    fn value(&self) -> (Layout, Shape, Ref<'_, CudaBuffer<f32>>) {
        let master = Ref::map(self.weight.borrow(), |weight| &weight.master);
        (self.layout, self.host.tensor().shape().clone(), master)
    }

    /// Copies the parameter to the host, and its velocity to `velocities`.
    fn store(&self, velocities: &mut Vec<(String, Tensor)>) -> Result<()> {
        let Some(training) = &self.training else { return Ok(()) };
        let shape = self.host.tensor().shape().clone();
        let tensor = |buffer: &CudaBuffer<f32>| -> Result<Tensor> {
            Ok(Tensor::new(self.layout.unpack(buffer.to_vec()?), shape.clone())?)
        };
        self.host.set(&tensor(&self.weight.borrow().master)?)?;
        if let Some(velocity) = &training.velocity {
            velocities.push((training.name.clone(), tensor(velocity)?));
        }
        Ok(())
    }
}

/// A batch norm: the numbers of its parameters, and its statistics.
#[derive(Debug)]
pub(super) struct Norm {
    host: BatchNorm2d,
    pub(super) weight: usize,
    pub(super) bias: usize,
    pub(super) eps: f32,
    pub(super) momentum: f32,
    /// Mean (C) of the batch.
    pub(super) mean: RefCell<CudaBuffer<f32>>,
    pub(super) var: RefCell<CudaBuffer<f32>>,
    pub(super) running_mean: RefCell<CudaBuffer<f32>>,
    pub(super) running_var: RefCell<CudaBuffer<f32>>,
}

/// All parameters, shared by the steps of all batch sizes.
#[derive(Debug)]
pub(super) struct Weights<T> {
    device: CudaDevice,
    /// Weights of convolutions.
    pub(super) convs: Vec<Param<T>>,
    /// All other parameters.
    pub(super) others: Vec<Param<f32>>,
    pub(super) norms: Vec<Norm>,
    /// Number of each parameter, by its id.
    found: HashMap<u64, usize>,
    optimizer: Optimizer,
}

/// The optimiser's settings for each parameter.
#[derive(Debug)]
struct Optimizer {
    config: SgdConfig,
    settings: HashMap<u64, Settings>,
    /// The learning rates of all steps, for each factor.
    rates: Vec<CudaBuffer<f32>>,
}

#[derive(Debug)]
struct Settings {
    name: String,
    rates: usize,
    weight_decay: f32,
    velocity: Option<Tensor>,
}

impl Optimizer {
    fn new(device: &CudaDevice, sgd: &Sgd, rates: &[f32]) -> Result<Optimizer> {
        let config = sgd.config();
        if config.dampening != 0.0 {
            return unsupported("SGD with dampening");
        }
        let (mut settings, mut factors) = (HashMap::new(), Vec::new());
        for entry in sgd.parameters().filter(|entry| entry.parameter.requires_grad()) {
            let factor = entry.learning_rate_factor;
            let rates = factors.iter().position(|other| *other == factor).unwrap_or_else(|| {
                factors.push(factor);
                factors.len() - 1
            });
            let name = entry.name.to_owned();
            let (weight_decay, velocity) = (entry.weight_decay, entry.velocity.cloned());
            settings.insert(entry.parameter.id(), Settings { name, rates, weight_decay, velocity });
        }
        let times = |factor: &f32| rates.iter().map(|rate| rate * factor).collect::<Vec<f32>>();
        let rates = factors.iter().map(|factor| CudaBuffer::from_slice(device, &times(factor)));
        let rates = rates.collect::<Result<_, _>>()?;
        Ok(Optimizer { config, settings, rates })
    }
}

impl<T: Activation> Weights<T> {
    /// No parameters yet; `rates` are the learning rates of all steps.
    pub(super) fn new(device: &CudaDevice, sgd: &Sgd, rates: &[f32]) -> Result<Weights<T>> {
        Ok(Weights {
            device: device.clone(),
            convs: Vec::new(),
            others: Vec::new(),
            norms: Vec::new(),
            found: HashMap::new(),
            optimizer: Optimizer::new(device, sgd, rates)?,
        })
    }

    /// The number of a convolution's weight, which is added if it is not there.
    pub(super) fn conv(&mut self, conv: &Conv2d, dims: &Conv2dDims, rows: Rows) -> Result<usize> {
        let host = conv.weight();
        if let Some(&at) = self.found.get(&host.id()) {
            return Ok(at);
        }
        let param = self.param(host, Layout::Rows(*dims, rows))?;
        self.found.insert(host.id(), self.convs.len());
        self.convs.push(param);
        Ok(self.convs.len() - 1)
    }

    /// The numbers of weight and bias, which are added if they are not there.
    pub(super) fn linear(&mut self, linear: &Linear) -> Result<[usize; 2]> {
        Ok([self.other(linear.weight())?, self.other(linear.bias())?])
    }

    /// The number of a batch norm, which is added if it is not there.
    pub(super) fn norm(&mut self, bn: &BatchNorm2d) -> Result<usize> {
        let (weight, bias) = (self.other(bn.weight())?, self.other(bn.bias())?);
        if let Some(at) = self.norms.iter().position(|norm| norm.weight == weight) {
            return Ok(at);
        }
        let device = &self.device;
        let channels = bn.weight().tensor().len();
        let running = |buffer: &gaternet_core::Buffer| -> Result<_> {
            Ok(CudaBuffer::from_slice(device, buffer.tensor().data())?.into())
        };
        let of_batch = || -> Result<_> { Ok(CudaBuffer::zeros(device, channels)?.into()) };
        self.norms.push(Norm {
            host: bn.clone(),
            weight,
            bias,
            eps: bn.eps(),
            momentum: bn.momentum(),
            mean: of_batch()?,
            var: of_batch()?,
            running_mean: running(bn.running_mean())?,
            running_var: running(bn.running_var())?,
        });
        Ok(self.norms.len() - 1)
    }

    fn other(&mut self, host: &Parameter) -> Result<usize> {
        if let Some(&at) = self.found.get(&host.id()) {
            return Ok(at);
        }
        let param = self.param(host, Layout::Flat)?;
        self.found.insert(host.id(), self.others.len());
        self.others.push(param);
        Ok(self.others.len() - 1)
    }

    fn param<U: Activation>(&self, host: &Parameter, layout: Layout) -> Result<Param<U>> {
        let packed = layout.pack(host.tensor().data());
        let config = &self.optimizer.config;
        let training = |settings: &Settings| -> Result<Training> {
            let velocity = match &settings.velocity {
                _ if config.momentum == 0.0 => None,
                Some(velocity) => {
                    Some(CudaBuffer::from_slice(&self.device, &layout.pack(velocity.data()))?)
                }
                // A velocity of 0: the first step makes it the gradient, as on the host.
                None => Some(CudaBuffer::zeros(&self.device, packed.len())?),
            };
            Ok(Training {
                name: settings.name.clone(),
                rates: settings.rates,
                weight_decay: settings.weight_decay,
                velocity,
            })
        };
        Ok(Param {
            host: host.clone(),
            layout,
            weight: Weight::new(&self.device, &packed)?.into(),
            grad: CudaBuffer::zeros(&self.device, packed.len())?.into(),
            training: self.optimizer.settings.get(&host.id()).map(training).transpose()?,
        })
    }

    /// Makes the optimiser of all parameters; none can be added after it.
    pub(super) fn optimizer(&mut self, max_norm: Option<f32>) -> Result<Kernel> {
        let Optimizer { config, rates, .. } = &self.optimizer;
        let SgdConfig { momentum, dampening, nesterov, .. } = *config;
        let constants = Constants { momentum, dampening, nesterov, max_norm };
        let convs = self.convs.iter_mut().filter_map(|param| param.trained(rates));
        let others = self.others.iter_mut().filter_map(|param| param.trained(rates));
        Ok(Kernel::new(&self.device, constants, convs.chain(others))?)
    }

    /// The layout on the device of a parameter or statistic of the model, its shape on the host,
    /// and its values now; `None` if it is not on the device.
    pub(super) fn value(&self, state: &State) -> Option<(Layout, Shape, Ref<'_, CudaBuffer<f32>>)> {
        match state {
            State::Parameter(host) => {
                let conv = self.convs.iter().find(|param| param.host.id() == host.id());
                let other = || self.others.iter().find(|param| param.host.id() == host.id());
                conv.map(Param::value).or_else(|| other().map(Param::value))
            }
            State::Buffer(host) => {
                let statistics = self.norms.iter().flat_map(|norm| {
                    let Norm { host, running_mean, running_var, .. } = norm;
                    [(host.running_mean(), running_mean), (host.running_var(), running_var)]
                });
                let (_, value) = statistics.into_iter().find(|(of, _)| of.is(host))?;
                Some((Layout::Flat, host.tensor().shape().clone(), value.borrow()))
            }
            State::Counter(_) => None,
        }
    }

    /// Copies parameters and statistics into the model and velocities into `sgd`; `batches` have
    /// been trained since the last time.
    pub(super) fn store(&self, sgd: &mut Sgd, batches: i64) -> Result<()> {
        let mut velocities = Vec::new();
        self.convs.iter().try_for_each(|param| param.store(&mut velocities))?;
        self.others.iter().try_for_each(|param| param.store(&mut velocities))?;
        // Frozen parameters keep their velocities.
        let moved: Vec<String> = velocities.iter().map(|(name, _)| name.clone()).collect();
        velocities.extend(sgd.state().into_iter().filter(|(name, _)| !moved.contains(name)));
        sgd.load_state(velocities)?;
        for norm in &self.norms {
            let pairs = [
                (norm.host.running_mean(), &norm.running_mean),
                (norm.host.running_var(), &norm.running_var),
            ];
            for (host, buffer) in pairs {
                let values = buffer.borrow().to_vec()?;
                host.set(&Tensor::new(values, host.tensor().shape().clone())?)?;
            }
            let tracked = norm.host.num_batches_tracked();
            tracked.set(tracked.get() + batches);
        }
        Ok(())
    }
}
