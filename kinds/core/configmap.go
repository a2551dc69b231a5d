package core

import (
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

func configMap() *kinds.Kind {
	k := newKind[v1.ConfigMap, v1.ConfigMapList]("configmaps", true, "cm")
	k.Name = rules.DNSSubdomain
	k.Validate = rules.Check(validateConfigMap)
	k.ValidateUpdate = rules.Check2(validateConfigMapUpdate)
	k.Columns = []metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.Column("Data", v1.ConfigMap{}.SwaggerDoc()["data"]),
		rules.AgeColumn(),
	}
	k.Cells = rules.Cells(func(c *v1.ConfigMap, now time.Time) []any {
		return []any{c.Name, int64(len(c.Data) + len(c.BinaryData)), rules.Age(c.CreationTimestamp, now)}
	})
	return k
}
