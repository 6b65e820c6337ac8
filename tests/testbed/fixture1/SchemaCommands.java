package bed;

import java.io.PrintStream;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.BiConsumer;
import org.apache.hadoop.hbase.HColumnDescriptor;
import org.apache.hadoop.hbase.HTableDescriptor;
import org.apache.hadoop.hbase.NamespaceDescriptor;
import org.apache.hadoop.hbase.TableName;
import org.apache.hadoop.hbase.client.Admin;
import org.apache.hadoop.hbase.util.Bytes;

/** Descriptors of tables, and namespaces, of HBase 1.x. A list of attributes is {@code NAME=VALUE,...}, or {@code -} for none. */
final class SchemaCommands {
  private final Cluster cluster;

  SchemaCommands(Cluster cluster) {
    this.cluster = cluster;
  }

  void addTo(Commands commands) {
    commands.add("create", 2, (words, out) -> create(words));
    commands.add("describe", 1, (words, out) -> describe(TableName.valueOf(words[1]), out));
    commands.add("shell-describe", 1, (words, out) -> shell(TableName.valueOf(words[1]), out));
    commands.add("namespace", 2, this::namespace);
  }

  private static void eachOf(String list, BiConsumer<String, String> use) {
    if (!list.equals("-")) {
      for (String attribute : list.split(",")) {
        String[] pair = attribute.split("=", 2);
        use.accept(pair[0], pair[1]);
      }
    }
  }

  private static String word(String[] words, int at) {
    return words.length > at ? words[at] : "-";
  }

  /** {@code create TABLE FAMILY[,FAMILY] [ATTRIBUTES [KEY[,KEY]|- [TABLE_ATTRIBUTES]]]}: attributes go to every family. */
  private void create(String[] words) throws Exception {
    HTableDescriptor table = new HTableDescriptor(TableName.valueOf(words[1]));
    for (String name : words[2].split(",")) {
      HColumnDescriptor family = new HColumnDescriptor(name);
      eachOf(word(words, 3), family::setValue);
      table.addFamily(family);
    }
    eachOf(word(words, 5), table::setValue);
    byte[][] splits = word(words, 4).equals("-")
        ? null : Arrays.stream(words[4].split(",")).map(TableCommands::key).toArray(byte[][]::new);
    try (Admin admin = cluster.admin()) {
      admin.createTable(table, splits);
    }
  }

  /** One line per attribute, sorted: {@code -} or the family, name, value. */
  private void describe(TableName name, PrintStream out) throws Exception {
    try (Admin admin = cluster.admin()) {
      HTableDescriptor table = admin.getTableDescriptor(name);
      Map<String, String> lines = new TreeMap<>();
      table.getValues().forEach((key, value) -> lines.put("- " + Bytes.toString(key.get()), Bytes.toString(value.get())));
      for (HColumnDescriptor family : table.getFamilies()) {
        String of = family.getNameAsString() + " ";
        family.getValues().forEach((key, value) -> lines.put(of + Bytes.toString(key.get()), Bytes.toString(value.get())));
        family.getConfiguration().forEach((key, value) -> lines.put(of + key, value));
      }
      lines.forEach((key, value) -> out.println(key + " " + value));
    }
  }

  /** As the shell's own {@code describe} prints it, by the same methods of the descriptor. */
  private void shell(TableName name, PrintStream out) throws Exception {
    try (Admin admin = cluster.admin()) {
      HTableDescriptor table = admin.getTableDescriptor(name);
      out.println("Table " + name + " is " + (admin.isTableEnabled(name) ? "ENABLED" : "DISABLED"));
      out.println(name + table.toStringTableAttributes());
      out.println("COLUMN FAMILIES DESCRIPTION");
      table.getFamilies().forEach(out::println);
      out.println(table.getFamilies().size() + " row(s) in 0.0420 seconds");
    }
  }

  /** {@code namespace create NAME}. */
  private void namespace(String[] words, PrintStream out) throws Exception {
    try (Admin admin = cluster.admin()) {
      admin.createNamespace(NamespaceDescriptor.create(words[2]).build());
    }
  }
}
