//! Server-sent events out of bytes (WHATWG HTML §9.2.6), with a bound on what is kept. Refuses to know what they mean.

/// The most bytes of an event, and so of a line: a hello with some fifty thousand cut-offs.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// An event: its name, and its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawEvent {
    pub(super) name: String,
    pub(super) data: String,
}

/// The stream is no stream of events, or an event is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// What has come in and is not an event yet.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    name: String,
    data: Option<String>,
    /// Whether the last byte was a carriage return, whose line feed is no line of its own.
    after_return: bool,
    /// Whether a line has come.
    begun: bool,
}

impl Parser {
    /// Takes bytes; the events that they complete come back.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<RawEvent>, Broken> {
        let mut events = Vec::new();
        for byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, *byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => events.extend(self.end_line()?),
                _ => self.line.push(*byte),
            }
            if self.line.len() > MAX_BYTES {
                return Err(Broken);
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Result<Option<RawEvent>, Broken> {
        let line = std::mem::take(&mut self.line);
        let line = str::from_utf8(&line).map_err(|_| Broken)?;
        let line = if self.begun { line } else { line.strip_prefix('\u{feff}').unwrap_or(line) };
        self.begun = true;
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            return Ok(self.data.take().map(|data| RawEvent { name, data }));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => self.add_data(value)?,
            // A comment, or a field that means nothing here; `id` is in the data.
            _ => {}
        }
        Ok(None)
    }

    fn add_data(&mut self, value: &str) -> Result<(), Broken> {
        let known = self.data.as_ref().map_or(0, String::len);
        if known.saturating_add(value.len()) > MAX_BYTES {
            return Err(Broken);
        }
        match &mut self.data {
            None => self.data = Some(value.to_owned()),
            Some(data) => {
                data.push('\n');
                data.push_str(value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> RawEvent {
        RawEvent { name: name.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn events_come_out_however_the_bytes_are_cut() {
        let text = "\u{feff}: hi\nevent: beat\nid: 7\ndata: {\"n\":7}\n\nevent:x\r\ndata:1\r\ndata:2\r\n\r\ndata\r\rretry: 5\n\n";
        let expected = vec![event("beat", "{\"n\":7}"), event("x", "1\n2"), event("", "")];
        assert_eq!(Parser::default().push(text.as_bytes()), Ok(expected.clone()));
        let mut parser = Parser::default();
        let one_by_one: Vec<_> = text.bytes().flat_map(|byte| parser.push(&[byte]).unwrap()).collect();
        assert_eq!(one_by_one, expected);
    }

    #[test]
    fn half_an_event_is_none() {
        assert_eq!(Parser::default().push(b"event: beat\ndata: 1\n"), Ok(Vec::new()));
        assert_eq!(Parser::default().push(b"event: beat\n\n"), Ok(Vec::new()));
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let long = vec![b'x'; MAX_BYTES + 1];
        assert_eq!(Parser::default().push(&long), Err(Broken));
        let mut parser = Parser::default();
        let line = format!("data: {}\n", "x".repeat(MAX_BYTES / 2));
        assert_eq!(parser.push(line.as_bytes()), Ok(Vec::new()));
        assert_eq!(parser.push(line.as_bytes()), Ok(Vec::new()));
        assert_eq!(parser.push(line.as_bytes()), Err(Broken));
        assert_eq!(Parser::default().push(b"data: \xff\n"), Err(Broken));
    }
}
