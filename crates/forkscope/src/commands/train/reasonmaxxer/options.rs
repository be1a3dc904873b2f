//! The flags that change a number of the recipe. Each is absent unless it was
//! given; what is used is the recipe with the given ones in their places.

/// Sets the places of what was given.
macro_rules! put {
    ($($given:expr => $place:expr),* $(,)?) => {$(
        if let Some(value) = $given {
            $place = value.into();
        }
    )*};
}

pub(super) use put;
