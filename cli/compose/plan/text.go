package plan

import (
	"fmt"
	"strings"
)

// String is the plan as text, a line an action.
func (p *Plan) String() string {
	var b strings.Builder
	for _, w := range p.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	actions(&b, "", p.Prepare)
	works(&b, "make", p.Make)
	works(&b, "start", p.Start)
	actions(&b, "", p.Finish)
	if b.Len() == 0 {
		return "nothing to do\n"
	}
	return b.String()
}

func actions(b *strings.Builder, indent string, as []Action) {
	for _, a := range as {
		fmt.Fprintf(b, "%s%s\n", indent, a)
	}
}

func works(b *strings.Builder, phase string, ws []Work) {
	for _, w := range ws {
		fmt.Fprintf(b, "%s %s", phase, w.Service)
		if len(w.After) > 0 {
			fmt.Fprintf(b, " after %s", strings.Join(w.After, ", "))
		}
		for _, wait := range w.Waits {
			fmt.Fprintf(b, " [%s %s", wait.Service, wait.Condition)
			if !wait.Required {
				b.WriteString(", optional")
			}
			b.WriteString("]")
		}
		b.WriteString("\n")
		actions(b, "  ", w.Do)
	}
}
