package recordeddocker

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxContent is how long a file of an archive is compared by its content.
const maxContent = 4096

// documents are the JSON documents that raw is a sequence of; false if it is none.
func documents(raw []byte) ([]any, bool) {
	raw = bytes.ReplaceAll(raw, []byte{0x1e}, []byte{' '}) // of json-seq
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var out []any
	for {
		var v any
		switch err := d.Decode(&v); err {
		case nil:
			out = append(out, v)
		case io.EOF:
			return out, len(out) > 0
		default:
			return nil, false
		}
	}
}

// toValue makes a value of a body.
func toValue(raw []byte, contentType string) any {
	if len(raw) == 0 {
		return ""
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		kind = contentType
	}
	switch kind {
	case "application/vnd.docker.raw-stream", "application/vnd.docker.multiplexed-stream":
		return streams(raw)
	}
	if len(raw) > 262 && string(raw[257:262]) == "ustar" {
		if m, err := members(raw); err == nil {
			return m
		}
	}
	docs, ok := documents(raw)
	if !ok {
		return string(raw)
	}
	if len(docs) == 1 && kind != "application/x-ndjson" && kind != "application/json-seq" && !progress(docs[0]) {
		return docs[0]
	}
	return messages(docs)
}

// streams takes frames of a multiplexed stream apart; what is not wholly frames is
// the output of a terminal.
func streams(raw []byte) any {
	names := [...]string{"stdin", "stdout", "stderr", "system"}
	var texts [len(names)][]byte
	var seen [len(names)]bool
	for rest := raw; len(rest) > 0; {
		if len(rest) < 8 || int(rest[0]) >= len(names) || rest[1]|rest[2]|rest[3] != 0 {
			return terminal(raw)
		}
		n := uint64(binary.BigEndian.Uint32(rest[4:]))
		if uint64(len(rest)-8) < n {
			return terminal(raw)
		}
		texts[rest[0]] = append(texts[rest[0]], rest[8:8+n]...)
		seen[rest[0]] = true
		rest = rest[8+n:]
	}
	out := []any{}
	for i, name := range names {
		if seen[i] {
			out = append(out, map[string]any{"stream": name, "text": string(texts[i])})
		}
	}
	return out
}

func terminal(raw []byte) any {
	return []any{map[string]any{"stream": "tty", "text": string(raw)}}
}

// members are what is in a tar, by name.
func members(raw []byte) (any, error) {
	out := map[string]any{}
	for r := tar.NewReader(bytes.NewReader(raw)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		m := map[string]any{"mode": fmt.Sprintf("%04o", h.Mode&0o7777), "owner": fmt.Sprintf("%d:%d", h.Uid, h.Gid)}
		switch h.Typeflag {
		case tar.TypeReg:
			m["type"] = "file"
			content, err := io.ReadAll(r)
			if err != nil {
				return nil, err
			}
			m["content"] = string(content)
			if len(content) > maxContent || !utf8.Valid(content) {
				m["content"] = "<data>"
			}
		case tar.TypeDir:
			m["type"] = "dir"
		case tar.TypeSymlink:
			m["type"], m["link"] = "symlink", h.Linkname
		case tar.TypeLink:
			m["type"], m["link"] = "link", h.Linkname
		default:
			m["type"] = string(h.Typeflag)
		}
		out[h.Name] = m
	}
}

// progress tells whether a document is a message of a stream of them.
func progress(doc any) bool {
	m, _ := doc.(map[string]any)
	for _, k := range []string{"stream", "status", "aux", "errorDetail"} {
		if _, ok := m[k]; ok {
			return true
		}
	}
	return false
}

var shortID = regexp.MustCompile(`^[0-9a-f]{12}$`)

// messages drops what differs from run to run and joins runs of output.
func messages(docs []any) any {
	out := []any{}
	joined := false // the last of out is output
	for _, doc := range docs {
		m, ok := doc.(map[string]any)
		if ok && passing(m) {
			continue
		}
		text, ok := m["stream"].(string)
		ok = ok && len(m) == 1
		if ok && joined {
			last := out[len(out)-1].(map[string]any)
			last["stream"] = last["stream"].(string) + text
			continue
		}
		joined = ok
		out = append(out, doc)
	}
	for _, doc := range out {
		if m, ok := doc.(map[string]any); ok && len(m) == 1 {
			if text, ok := m["stream"].(string); ok {
				m["stream"] = strings.ReplaceAll(text, "\x1b[0m\x1b[91m", "")
			}
		}
	}
	return out
}

// passing tells whether a message is progress that no two runs have alike.
func passing(m map[string]any) bool {
	id, _ := m["id"].(string)
	if id == "moby.buildkit.trace" {
		return true
	}
	_, status := m["status"]
	_, detail := m["progressDetail"]
	return status && (detail || shortID.MatchString(id))
}
