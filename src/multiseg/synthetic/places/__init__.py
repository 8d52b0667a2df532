"""The kinds of place the datasets show, one module each: a camera and what stands before it, new for every picture."""
