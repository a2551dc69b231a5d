package apiserver

import (
	"unicode/utf8"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// Limits of Warning headers, in characters: of all together, and of each once they
// are too many (endpoints/filters, warning.go).
const (
	maxWarnings = 4 * 1024
	maxWarning  = 256
)

// warningHeaders are the values of Warning headers for texts. Where they are too long
// together each is cut, and when that is not enough the rest is left out. A text
// that no header may carry is left out too.
func warningHeaders(texts []string) []string {
	total := 0
	for _, t := range texts {
		total += utf8.RuneCountInString(t)
	}
	out := make([]string, 0, len(texts))
	written := 0
	for _, t := range texts {
		if total > maxWarnings {
			if written >= maxWarnings {
				break
			}
			if n := utf8.RuneCountInString(t); n > maxWarning {
				t = string([]rune(t)[:maxWarning])
			}
		}
		if w, err := utilnet.NewWarningHeader(299, "-", t); err == nil {
			out = append(out, w)
			written += utf8.RuneCountInString(t)
		}
	}
	return out
}
