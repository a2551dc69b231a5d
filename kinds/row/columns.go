package row

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Column is a text column.
func Column(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "string", Description: description}
}

// Integer is a column of whole numbers.
func Integer(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "integer", Description: description}
}

// Boolean is a column of true and false.
func Boolean(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "boolean", Description: description}
}

// Wide makes a column that only -o wide shows.
func Wide(c metav1.TableColumnDefinition) metav1.TableColumnDefinition {
	c.Priority = 1
	return c
}

// NameColumn is the first column of nearly every kind.
func NameColumn() metav1.TableColumnDefinition {
	c := Column("Name", metav1.ObjectMeta{}.SwaggerDoc()["name"])
	c.Format = "name"
	return c
}

// AgeColumn tells how long ago the object was created.
func AgeColumn() metav1.TableColumnDefinition {
	return Column("Age", metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"])
}

// ContainerColumns are the wide columns of kinds with a pod template.
func ContainerColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		Wide(Column("Containers", "Names of each container in the template.")),
		Wide(Column("Images", "Images referenced by each container in the template.")),
	}
}

// Containers are the cells of ContainerColumns.
func Containers(cs []corev1.Container) (names, images string) {
	var n, i []string
	for _, c := range cs {
		n, i = append(n, c.Name), append(i, c.Image)
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}

// Age is the cell of AgeColumn.
func Age(obj metav1.Object, now time.Time) string { return Since(obj.GetCreationTimestamp(), now) }

// Since tells how long t is ago as kubectl does.
func Since(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t.Time))
}
