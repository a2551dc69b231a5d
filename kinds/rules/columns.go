package rules

import (
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// NameColumn is the first column of nearly every kind.
func NameColumn() metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]}
}

// AgeColumn is the column that Age fills.
func AgeColumn() metav1.TableColumnDefinition {
	return Column("Age", metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"])
}

// Column is a column of strings that is always shown.
func Column(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "string", Description: description}
}

// IntColumn is a column of integers that is always shown.
func IntColumn(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "integer", Description: description}
}

// Wide makes a column one that only -o wide shows.
func Wide(c metav1.TableColumnDefinition) metav1.TableColumnDefinition {
	c.Priority = 1
	return c
}

// WorkloadColumns are the three wide columns of kinds with a pod template;
// selector is the description of the last.
func WorkloadColumns(selector string) []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		Wide(Column("Containers", "Names of each container in the template.")),
		Wide(Column("Images", "Images referenced by each container in the template.")),
		Wide(Column("Selector", selector)),
	}
}

// Age is how long ago t was, as kubectl shows it.
func Age(t metav1.Time, now time.Time) string { return since(t.Time, now) }

// MicroAge is Age for a time with microseconds.
func MicroAge(t metav1.MicroTime, now time.Time) string { return since(t.Time, now) }

func since(t, now time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t))
}

// ContainerCells joins the names and the images of containers for the wide
// columns of a workload.
func ContainerCells(containers []v1.Container) (names, images string) {
	n, i := make([]string, len(containers)), make([]string, len(containers))
	for k := range containers {
		n[k], i[k] = containers[k].Name, containers[k].Image
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}

// OrNone is s, or what kubectl shows where there is nothing.
func OrNone(s string) string { return Or(s, "<none>") }

// Or is s, or other where s is empty.
func Or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
