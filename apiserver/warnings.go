package apiserver

import (
	"unicode/utf8"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// How many characters the warnings of an answer have together, and each of them where
// that is exceeded (endpoints/filters/warning.go).
const (
	warningsLength = 4 * 1024
	warningLength  = 256
)

// warningHeaders are the values of the Warning headers for texts. When they are too
// long together each is cut, and when that does not help the last are left out.
func warningHeaders(texts []string) []string {
	var out []string
	written, cutting := 0, false
	add := func(text string) {
		n := utf8.RuneCountInString(text)
		if cutting && n > warningLength {
			text, n = string([]rune(text)[:warningLength]), warningLength
		}
		if h, err := utilnet.NewWarningHeader(299, "-", text); err == nil {
			out, written = append(out, h), written+n
		}
	}
	for i, text := range texts {
		switch {
		case text == "":
		case cutting && written >= warningsLength:
			return out
		case cutting || written+utf8.RuneCountInString(text) <= warningsLength:
			add(text)
		default:
			out, written, cutting = nil, 0, true
			for _, t := range texts[:i+1] {
				if t != "" {
					add(t)
				}
			}
		}
	}
	return out
}
