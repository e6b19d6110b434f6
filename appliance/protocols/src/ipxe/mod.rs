//! iPXE scripts from typed parts. In: commands with typed words. Out: the text that iPXE runs.
//! iPXE splits a line at white space and knows no quotes; `${…}` is replaced inside each word, `#` begins a comment,
//! and `||`, `&&`, `;` between words are operators. A word that could mean any of that is refused when it is made, so
//! that a rendered script says exactly what its parts say. Kernel arguments are checked for Linux's own rules as well
//! (a `"` would swallow what follows). There is no way to put a line of text into a script.

mod script;
mod word;

pub use script::{Argument, Command, Condition, Platform, Script, Setting, Variable};
pub use word::{BadWord, ImageName, KernelArgument, Text, Url};
