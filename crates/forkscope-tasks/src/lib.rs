//! Problems, prompt styles and answer grading.
