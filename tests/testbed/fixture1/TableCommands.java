package bed;

import java.io.IOException;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import org.apache.hadoop.hbase.HRegionInfo;
import org.apache.hadoop.hbase.HRegionLocation;
import org.apache.hadoop.hbase.TableName;
import org.apache.hadoop.hbase.client.Admin;
import org.apache.hadoop.hbase.client.RegionLocator;
import org.apache.hadoop.hbase.security.access.AccessControlClient;
import org.apache.hadoop.hbase.security.access.Permission;

/** Tables and regions of HBase 1.x. Keys are hex; the empty key is {@code -}. */
final class TableCommands {
  private static final HexFormat HEX = HexFormat.of();
  private final Cluster cluster;

  TableCommands(Cluster cluster) {
    this.cluster = cluster;
  }

  void addTo(Commands commands) {
    commands.add("tables", 0, (words, out) -> tables(out));
    commands.add("drop", 1, (words, out) -> with(admin -> drop(admin, TableName.valueOf(words[1]))));
    commands.add("disable", 1, (words, out) -> with(admin -> admin.disableTable(TableName.valueOf(words[1]))));
    commands.add("enable", 1, (words, out) -> with(admin -> admin.enableTable(TableName.valueOf(words[1]))));
    commands.add("flush", 1, (words, out) -> with(admin -> admin.flush(TableName.valueOf(words[1]))));
    commands.add("regions", 1, (words, out) -> regions(TableName.valueOf(words[1]), out));
    commands.add("split", 2, (words, out) ->
        with(admin -> split(admin, TableName.valueOf(words[1]), key(words[2]))));
    commands.add("grant", 3, (words, out) -> grant(words[1], words[2], words[3]));
  }

  private interface Use {
    void of(Admin admin) throws Exception;
  }

  private void with(Use use) throws Exception {
    try (Admin admin = cluster.admin()) {
      use.of(admin);
    }
  }

  static byte[] key(String hex) {
    return hex.equals("-") ? new byte[0] : HEX.parseHex(hex);
  }

  private static String text(byte[] key) {
    return key.length == 0 ? "-" : HEX.formatHex(key);
  }

  private void tables(PrintStream out) throws Exception {
    with(admin -> {
      for (TableName table : admin.listTableNames()) {
        out.println(table.getNameAsString());
      }
    });
  }

  private static void drop(Admin admin, TableName table) throws IOException {
    if (admin.isTableEnabled(table)) {
      admin.disableTable(table);
    }
    admin.deleteTable(table);
  }

  /** One line per region: start, end, encoded name, server. */
  private void regions(TableName table, PrintStream out) throws IOException {
    try (RegionLocator locator = cluster.connection().getRegionLocator(table)) {
      for (HRegionLocation place : locator.getAllRegionLocations()) {
        HRegionInfo region = place.getRegionInfo();
        out.println(text(region.getStartKey()) + " " + text(region.getEndKey()) + " " + region.getEncodedName() + " "
            + place.getServerName());
      }
    }
  }

  private static void split(Admin admin, TableName table, byte[] key) throws Exception {
    admin.split(table, key);
    Waiting.until(60, "the halves of the region", () -> admin.getTableRegions(table).stream()
        .anyMatch(region -> Arrays.equals(region.getStartKey(), key) && !region.isSplitParent()));
  }

  /** {@code grant USER RWXCA TABLE} adds those rights. */
  private void grant(String user, String letters, String table) throws Exception {
    List<Permission.Action> actions = new ArrayList<>();
    for (Permission.Action action : Permission.Action.values()) {
      if (letters.indexOf(action.code()) >= 0) {
        actions.add(action);
      }
    }
    try {
      AccessControlClient.grant(cluster.connection(), TableName.valueOf(table), user, null, null,
          actions.toArray(Permission.Action[]::new));
    } catch (Throwable error) {
      throw new Exception(error);
    }
  }
}
