"""The paper's rival design: a random forest on features of the patch classifier's heatmaps (Appendix 1).

An image's heatmap is cut at several probabilities. The regions that rise above a cut are counted and the largest is
measured; a forest learns from these numbers and the image labels which images have cancer. Such features were used by
the winners of Camelyon16 (Wang et al. 2016, arXiv:1606.05718) and by the paper's author in the DREAM challenge.

The forest learns from the training partition. The validation partition chooses the size of its leaves and the
operating point. The test partition is scored and nothing else. One weakness is the design's own: the patch classifier
has seen the lesions of the training images, so its heatmaps of these are surer than those of new images.
"""
