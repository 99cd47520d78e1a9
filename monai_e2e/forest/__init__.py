"""The design that the paper compares with: a random forest on features of heatmaps (Appendix 1).

The regions of an image's heatmap above several probabilities are counted, and the largest one is measured. From these
numbers and the image labels the forest learns which images show cancer. Such features were used by the winners of
Camelyon16 (Wang et al. 2016, arXiv:1606.05718), and by the paper's author in the DREAM challenge.

The forest is fitted to the training partition. The size of its leaves and the threshold are chosen on the validation
partition, and the test partition is only scored. The design has a weakness: the patch classifier has seen the lesions
of the training images, so their heatmaps are more certain than those of new images.
"""
