//! Arguments in the forms people write them.

/// What can be given as the arguments of a command: `()` for none, an array, a slice or a `Vec` of strings.
pub trait IntoArgs {
    /// The arguments, in order.
    fn into_args(self) -> Vec<String>;
}

impl IntoArgs for () {
    fn into_args(self) -> Vec<String> {
        Vec::new()
    }
}

impl<S: Into<String>, const N: usize> IntoArgs for [S; N] {
    fn into_args(self) -> Vec<String> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<S: Into<String>> IntoArgs for Vec<S> {
    fn into_args(self) -> Vec<String> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<S: AsRef<str>> IntoArgs for &[S] {
    fn into_args(self) -> Vec<String> {
        self.iter().map(|arg| arg.as_ref().to_owned()).collect()
    }
}

impl<S: AsRef<str>> IntoArgs for &Vec<S> {
    fn into_args(self) -> Vec<String> {
        self.as_slice().into_args()
    }
}

impl<S: AsRef<str>, const N: usize> IntoArgs for &[S; N] {
    fn into_args(self) -> Vec<String> {
        self.as_slice().into_args()
    }
}
