"""What pytest collects, and the declarations of the shipped ops."""
