"""Upscaling images with a trained network, without anything of training."""
