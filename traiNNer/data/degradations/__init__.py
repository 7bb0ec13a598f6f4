"""Low-quality images made from good ones while training: random chains of blur, resizing, noise and compression.

`Chain` (chain.py) is the whole: a pure function of an image and of the `Draws` of its position. Each other
module holds one kind of damage. Images here are float32, (h, w, 3), RGB, 0 to 255, unless a docstring says
otherwise. The chains are those of Real-ESRGAN (Wang et al. 2021) and BSRGAN (Zhang et al. 2021), with the
departures that `docs/real_photographs.md` lists.
"""
