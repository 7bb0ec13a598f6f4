"""A configuration with something in every section."""

FULL = """\
name: full
scale: 2
num_gpu: auto
datasets:
  train: {name: T, type: PairedImageDataset, dataroot_gt: [a, b], dataroot_lq: [c, d], gt_size: 96}
  val: {dataroot_gt: e, dataroot_lq: f}
network_g: {type: ParagonSR2, scale: 2, channels: [8, [16], {a: 1}, {}], text: "1e-4", nothing: null}
train:
  total_iter: 1e3
  optim_g: {type: AdamW, lr: 1e-4}
  scheduler: {type: MultiStepLR, milestones: [200, 400], gamma: 0.5}
  ema_decay: 0.999
  losses:
    - {type: L1Loss, loss_weight: 1}
    - {type: SSIMLoss}
  training_automations: {enabled: true, AdaptiveGradientClipping: true}
val:
  val_freq: 100
  metrics: {psnr: {better: higher}, ssim: }
logger: {print_freq: 10}
"""
