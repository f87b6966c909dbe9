"""Images: folders of files, torchvision's datasets, and how a picture becomes a tensor."""
