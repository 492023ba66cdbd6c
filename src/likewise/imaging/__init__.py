"""Image files to pixels: decode, resize, find. One door for every image that is read."""
