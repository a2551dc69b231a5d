package core

import (
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

// componentStatus is deprecated: the server answers for it from its own health.
func componentStatus() *kinds.Kind {
	k := newKind[v1.ComponentStatus, v1.ComponentStatusList]("componentstatuses", false, "cs")
	k.Verbs = []string{"get", "list"}
	k.Virtual = true
	k.Served[0].Deprecated = "v1 ComponentStatus is deprecated in v1.19+"
	k.Columns = []metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.Column("Status", "Status of the component conditions"),
		rules.Column("Message", "Message of the component conditions"),
		rules.Column("Error", "Error of the component conditions"),
	}
	k.Cells = rules.Cells(func(c *v1.ComponentStatus, _ time.Time) []any {
		for _, cond := range c.Conditions {
			if cond.Type != v1.ComponentHealthy {
				continue
			}
			status := "Unhealthy"
			if cond.Status == v1.ConditionTrue {
				status = "Healthy"
			}
			return []any{c.Name, status, cond.Message, cond.Error}
		}
		return []any{c.Name, "Unknown", "", ""}
	})
	return k
}
