package partition_test

// routes says, for names, the partition by the number of partitions.
var routes = map[string]map[int]int{
	"":                  {1: 0, 2: 1, 3: 0, 8: 1, 16: 9, 64: 25, 1000: 921},
	"a":                 {1: 0, 2: 1, 3: 2, 8: 3, 16: 11, 64: 27, 1000: 955},
	"orders":            {1: 0, 2: 1, 3: 0, 8: 5, 16: 5, 64: 53, 1000: 245},
	"orders.eu.created": {1: 0, 2: 1, 3: 1, 8: 5, 16: 5, 64: 37, 1000: 605},
	"Ω":                 {1: 0, 2: 0, 3: 1, 8: 0, 16: 0, 64: 0, 1000: 48},
	"x-y_z.0123456789":  {1: 0, 2: 1, 3: 2, 8: 3, 16: 3, 64: 19, 1000: 995},
}
